"""What the API may call about all but instances (topic conductor-api): CatalogClient's methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from conductor import aggregates, drains, flavors, hosts, images, networks, step_tickets, zones
from conductor.callers import check_current
from conductor.identity import Identities
from conductor.policy import Policy
from conductor.senders import Senders
from conductor.turn import Turn, Turns
from paddock.clients import read, wire
from paddock.context import RequestContext
from paddock.records import Listing
from paddock.rpc import expose
from paddock.versions import FIRST

T = TypeVar("T")
Context = dict[str, Any]
Json = dict[str, Any]
Names = dict[str, str]
_NOVA = "os_compute_api"
_FLAVORS = f"{_NOVA}:flavors"
_FLAVOR_MANAGE = f"{_NOVA}:os-flavor-manage"
_AGGREGATES = f"{_NOVA}:os-aggregates"
_DRAINS = "paddock:drains"
_MEMBERS = {"add_host": "add_host", "remove_host": "remove_host", "metadata": "set_metadata"}


class CatalogEndpoint:
    """Checks who asks and under which rule, and hands calls on, each in one transaction.

    :param served: the lowest RPC version of all live conductors
    """

    def __init__(
        self, turns: Turns, policy: Policy, senders: Senders, identities: Identities,
        served: Callable[[], str] = lambda: FIRST,
    ) -> None:  # fmt: skip
        self._turns = turns
        self._policy = policy
        self._senders = senders
        self._identities = identities
        self._served = served

    @expose
    def ping_conductor(self, ctxt: Context) -> Json:  # noqa: ARG002 (all methods get it)
        """See CatalogClient; a conductor calls itself too, to prove its path."""
        self._turns.read(lambda turn: turn.session.scalar(sa.select(1)))
        return {"database": True, "rpc_version": self._served()}

    @expose
    def authenticate(self, ctxt: Context, user: Names, password: str, project: Names) -> Any:
        """See CatalogClient."""
        address = self._caller(ctxt).address
        return wire(self._identities.authenticate(user, password, project, address))

    @expose
    def identify(self, ctxt: Context, project: Names) -> Any:
        """See CatalogClient."""
        self._senders.check_api(ctxt)
        return wire(self._identities.identify(RequestContext.from_dict(ctxt), project))

    @expose
    def list_flavors(self, ctxt: Context, listing: Json) -> Any:
        """See CatalogClient."""
        page = read(listing, Listing)
        return self._read(
            ctxt, _FLAVORS, lambda turn, asks: flavors.list_page(turn, self._policy, asks, page)
        )

    @expose
    def get_flavors(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        return self._read(
            ctxt, _FLAVORS, lambda turn, asks: flavors.get(turn, self._policy, asks, key)
        )

    @expose
    def create_flavors(self, ctxt: Context, fields: Json) -> Any:
        """See CatalogClient."""
        rule = f"{_FLAVOR_MANAGE}:create"
        return self._change(ctxt, rule, lambda turn, _: flavors.create(turn, fields))

    @expose
    def update_flavors(self, ctxt: Context, key: str, changes: Json) -> Any:
        """See CatalogClient."""
        rule = f"{_FLAVOR_MANAGE}:update"
        return self._change(ctxt, rule, lambda turn, _: flavors.update(turn, key, changes))

    @expose
    def delete_flavors(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        rule = f"{_FLAVOR_MANAGE}:delete"
        return self._change(ctxt, rule, lambda turn, _: flavors.delete(turn, key))

    @expose
    def list_images(self, ctxt: Context, listing: Json) -> Any:
        """See CatalogClient."""
        page = read(listing, Listing)
        return self._read(ctxt, "get_images", lambda turn, asks: images.list_page(turn, asks, page))

    @expose
    def get_images(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        return self._read(ctxt, "get_image", lambda turn, asks: images.get(turn, asks, key))

    @expose
    def open_image(self, ctxt: Context, ticket: str, checksum: str) -> Any:
        """See CatalogClient."""
        self._senders.check_api(ctxt)
        return wire(self._turns.read(lambda turn: step_tickets.open_image(turn, ticket, checksum)))

    @expose
    def list_networks(self, ctxt: Context, listing: Json) -> Any:
        """See CatalogClient."""
        page = read(listing, Listing)
        return self._read(
            ctxt,
            networks.LIST,
            lambda turn, asks: networks.list_page(turn, self._policy, asks, page),
        )

    @expose
    def get_networks(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        return self._read(
            ctxt, networks.SHOW, lambda turn, asks: networks.get(turn, self._policy, asks, key)
        )

    @expose
    def list_zones(self, ctxt: Context, listing: Json) -> Any:
        """See CatalogClient."""
        page = read(listing, Listing)
        return self._read(
            ctxt,
            f"{_NOVA}:os-availability-zone:list",
            lambda turn, asks: zones.list_page(turn, self._policy, asks, page),
        )

    @expose
    def get_zones(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        rule = f"{_NOVA}:os-availability-zone:list"
        return self._read(ctxt, rule, lambda turn, asks: zones.get(turn, self._policy, asks, key))

    @expose
    def list_aggregates(self, ctxt: Context, listing: Json) -> Any:
        """See CatalogClient."""
        page = read(listing, Listing)
        rule = f"{_AGGREGATES}:index"
        return self._read(ctxt, rule, lambda turn, _: aggregates.list_page(turn, page))

    @expose
    def get_aggregates(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        rule = f"{_AGGREGATES}:show"
        return self._read(ctxt, rule, lambda turn, _: aggregates.get(turn, key))

    @expose
    def create_aggregates(self, ctxt: Context, fields: Json) -> Any:
        """See CatalogClient."""
        rule = f"{_AGGREGATES}:create"
        return self._change(ctxt, rule, lambda turn, _: aggregates.create(turn, fields))

    @expose
    def update_aggregates(self, ctxt: Context, key: str, changes: Json) -> Any:
        """See CatalogClient."""
        names = {_MEMBERS.get(name, "update") for name in changes} or {"update"}

        def change(turn: Turn, asks: RequestContext) -> Any:
            for name in sorted(names):
                self._policy.check(asks, f"{_AGGREGATES}:{name}")
            return aggregates.update(turn, key, changes)

        return self._change(ctxt, f"{_AGGREGATES}:{min(names)}", change)

    @expose
    def delete_aggregates(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        rule = f"{_AGGREGATES}:delete"
        return self._change(ctxt, rule, lambda turn, _: aggregates.delete(turn, key))

    @expose
    def list_hosts(self, ctxt: Context, listing: Json) -> Any:
        """See CatalogClient."""
        page = read(listing, Listing)
        rule = "paddock:services:list"
        return self._read(ctxt, rule, lambda turn, _: hosts.list_page(turn, page))

    @expose
    def get_hosts(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        rule = "paddock:services:show"
        return self._read(ctxt, rule, lambda turn, _: hosts.get(turn, key))

    @expose
    def update_hosts(self, ctxt: Context, key: str, changes: Json) -> Any:
        """See CatalogClient."""
        rule = f"{_NOVA}:os-services:update"
        return self._change(ctxt, rule, lambda turn, _: hosts.update(turn, key, changes))

    @expose
    def delete_hosts(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        rule = f"{_NOVA}:os-services:delete"
        return self._change(ctxt, rule, lambda turn, _: hosts.delete(turn, key))

    @expose
    def pause_host(self, ctxt: Context, key: str, reason: str | None) -> Any:
        """See CatalogClient."""
        rule = "paddock:services:pause"
        return self._change(ctxt, rule, lambda turn, asks: hosts.pause(turn, asks, key, reason))

    @expose
    def resume_host(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        rule = "paddock:services:resume"
        return self._change(ctxt, rule, lambda turn, _: hosts.resume(turn, key))

    @expose
    def list_drains(self, ctxt: Context, listing: Json) -> Any:
        """See CatalogClient."""
        page = read(listing, Listing)
        return self._read(ctxt, f"{_DRAINS}:list", lambda turn, _: drains.list_page(turn, page))

    @expose
    def get_drains(self, ctxt: Context, key: str) -> Any:
        """See CatalogClient."""
        return self._read(ctxt, f"{_DRAINS}:show", lambda turn, _: drains.get(turn, key))

    @expose
    def create_drains(self, ctxt: Context, fields: Json) -> Any:
        """See CatalogClient."""
        rule = f"{_DRAINS}:create"
        if fields.get("dry_run") is True:  # which writes nothing
            return self._read(ctxt, rule, lambda turn, asks: drains.create(turn, asks, fields))
        return self._change(ctxt, rule, lambda turn, asks: drains.create(turn, asks, fields))

    @expose
    def steer_drain(self, ctxt: Context, key: str, verb: str, params: Json) -> Any:
        """See CatalogClient."""
        rule = f"{_DRAINS}:steer"
        return self._change(ctxt, rule, lambda turn, _: drains.steer(turn, key, verb, params))

    def _read(self, ctxt: Context, rule: str, fn: Callable[[Turn, RequestContext], Any]) -> Any:
        asks = self._caller(ctxt)
        return wire(self._turns.read(lambda turn: fn(self._admit(turn, asks, rule), asks)))

    def _change(self, ctxt: Context, rule: str, fn: Callable[[Turn, RequestContext], Any]) -> Any:
        asks = self._caller(ctxt)

        def change(turn: Turn) -> Any:
            self._admit(turn, asks, rule)
            return turn.attempt(lambda: fn(turn, asks))

        return wire(self._turns.run(change))

    def _admit(self, turn: Turn, asks: RequestContext, rule: str) -> Turn:
        check_current(turn, asks)
        self._policy.check(asks, rule)
        return turn

    def _caller(self, ctxt: Context) -> RequestContext:
        self._senders.check_api(ctxt)
        return RequestContext.from_dict(ctxt)
