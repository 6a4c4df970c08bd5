"""Servers: create, list, show, update, delete."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from api import server_view
from api.call import Call, Document
from api.idempotency import mint
from api.listing import collect, links, next_link, page_size
from api.operations import Frame, Resource, operation
from api.schemas import servers as schemas
from api.schemas.common import is_true
from api.server_filters import listing_of, shown_filter
from api.wishes import Wishes
from paddock.clients import LedgerClient
from paddock.errors import BadRequest
from paddock.records import CreateRequest, InstanceRecord

PASSWORD_LENGTH = 12


class ServerBase(Resource):
    """What the resources of servers share.

    :param largest: rows of a page at most
    """

    def __init__(self, frame: Frame, ledger: LedgerClient, wishes: Wishes, largest: int) -> None:
        super().__init__(frame)
        self._ledger = ledger
        self._wishes = wishes
        self._largest = largest

    def _list(self, call: Call, path: str, view: Any) -> Document:
        most = page_size(call.query, self._largest)
        records = collect(
            lambda listing: self._ledger.list_instances(call.ctxt, listing),
            listing_of(call),
            most,
            "id",
            shown_filter(call.query),
        )
        answer: Document = {"servers": [view(record) for record in records]}
        if records and len(records) == most:
            answer["servers_links"] = next_link(call, path, records[-1].id)
        return answer

    def _full(self, call: Call, record: InstanceRecord) -> Document:
        return server_view.full(call, record, self.frame.differences)


class Servers(ServerBase):
    """``/servers``.

    :param secret: gives the key from which passwords in answers are made
    """

    def __init__(
        self, frame: Frame, ledger: LedgerClient, wishes: Wishes, largest: int,
        secret: Callable[[], bytes],
    ) -> None:  # fmt: skip
        super().__init__(frame, ledger, wishes, largest)
        self._secret = secret

    @operation("server-list", "List servers", query=schemas.LIST)
    def on_get(self, call: Call) -> Document:
        """Ids, names and links."""
        return self._list(call, "/servers", lambda record: server_view.brief(call, record))

    @operation("server-create", "Create servers", status=202, body=schemas.CREATE, keyed=True)
    def on_post(self, call: Call) -> Document:
        """Accepted; the server is BUILD until its host has it."""
        wanted = call.body["server"]
        request = creation(call, wanted)
        tickets = self._wishes.create(call, request)
        if is_true(wanted.get("return_reservation_id")):
            return {"reservation_id": request.reservation_id}
        first = min(tickets, key=lambda ticket: request.instance_ids.index(ticket.instance_id))
        path = f"/servers/{first.instance_id}"
        call.headers["Location"] = f"{call.base}{path}"
        server = {
            "id": first.instance_id,
            "links": links(call, path),
            "OS-DCF:diskConfig": wanted.get("OS-DCF:diskConfig", "MANUAL"),
            "security_groups": [{"name": "default"}],
            "adminPass": wanted.get("adminPass") or self._password(first.action_id),
        }
        return {"server": server}

    def _password(self, action_id: str) -> str:
        """The same for the same action and key, and known to nobody who has not the key."""
        digest = hmac.new(self._secret(), action_id.encode(), hashlib.sha256).digest()
        return base64.b64encode(digest, b"Aa").decode()[:PASSWORD_LENGTH]


class ServersDetail(ServerBase):
    """``/servers/detail``."""

    @operation("server-list-detail", "List servers with all that is known", query=schemas.LIST)
    def on_get(self, call: Call) -> Document:
        """Whole documents."""
        return self._list(call, "/servers/detail", lambda record: self._full(call, record))


class Server(ServerBase):
    """``/servers/{server_id}``."""

    @operation("server-show", "Show a server")
    def on_get(self, call: Call, server_id: str) -> Document:
        """The whole document."""
        return {"server": self._shown(call, self._ledger.get_instance(call.ctxt, server_id))}

    @operation("server-update", "Rename a server", body=schemas.UPDATE)
    def on_put(self, call: Call, server_id: str) -> Document:
        """The document after the change."""
        wanted = call.body["server"]
        changes = {name: wanted[name] for name in ("name", "description") if name in wanted}
        if changes:
            record = self._ledger.update_instance(call.ctxt, server_id, changes)
        else:
            record = self._ledger.get_instance(call.ctxt, server_id)
        return {"server": self.shape(call, "server-updated", self._shown(call, record))}

    @operation("server-delete", "Delete a server", status=204, keyed=True)
    def on_delete(self, call: Call, server_id: str) -> None:
        """Accepted in every state; the server is gone once its host is clean."""
        self._wishes.ask_for(call, server_id, "delete", {})

    def _shown(self, call: Call, record: InstanceRecord) -> Document:
        document = self._full(call, record)
        return document | self.shape(call, "server", {"server_groups": []})


def creation(call: Call, wanted: Document) -> CreateRequest:
    """The wish that a valid body describes.

    :raises BadRequest: fields contradict each other
    """
    image = image_of(wanted)
    least, most = counts(wanted)
    zone, _, host = (wanted.get("availability_zone") or "").partition(":")
    host = host.partition(":")[0] or wanted.get("host") or wanted.get("hypervisor_hostname")
    return CreateRequest(
        action_ids=[mint(call, "action", number) for number in range(most)],
        instance_ids=[mint(call, "instance", number) for number in range(most)],
        min_count=least,
        name=wanted["name"],
        description=wanted.get("description"),
        image_id=image,
        flavor_id=str(wanted["flavorRef"]).rstrip("/").rpartition("/")[2],
        zone=zone or None,
        host=host or None,
        networks=wanted.get("networks", "auto"),
        metadata=wanted.get("metadata", {}),
        reservation_id=f"r-{mint(call, 'reservation').replace('-', '')[:8]}",
        fingerprint=call.fingerprint,
    )


def image_of(wanted: Document) -> str:
    """The image's id, from ``imageRef`` or the one block device."""
    devices = wanted.get("block_device_mapping_v2") or []
    image = str(wanted.get("imageRef") or "").rstrip("/").rpartition("/")[2]
    from_device = str(devices[0]["uuid"]) if devices else image
    if not from_device:
        raise BadRequest("server.imageRef is missing.")
    if image and image != from_device:
        raise BadRequest("server.imageRef must name the image of block_device_mapping_v2.")
    return from_device


def counts(wanted: Document) -> tuple[int, int]:
    """How many servers at least and at most."""
    least = int(wanted.get("min_count", 1))
    most = int(wanted.get("max_count", least))
    if not 1 <= least <= most <= schemas.MOST_AT_ONCE:
        raise BadRequest(
            "server.min_count must not be above max_count, "
            f"and both must be from 1 to {schemas.MOST_AT_ONCE}."
        )
    return least, most
