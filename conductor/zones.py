"""Availability zones: what hosts and aggregates name."""

from __future__ import annotations

import sqlalchemy as sa

from conductor.db.models import Aggregate, AggregateHost, Host
from conductor.pages import page
from conductor.placement import is_up
from conductor.policy import Policy
from conductor.turn import Turn
from paddock.context import RequestContext
from paddock.errors import NotFound
from paddock.records import Listing, ZoneRecord

DETAIL = "os_compute_api:os-availability-zone:detail"


def list_page(
    turn: Turn, policy: Policy, asks: RequestContext, listing: Listing
) -> list[ZoneRecord]:
    """A page of zones; with their hosts when the filter ``detail`` is set.

    :raises Forbidden: hosts are for administrators
    """
    if listing.filters.get("detail"):
        policy.check(asks, DETAIL)
    return page(
        _show_all(turn, bool(listing.filters.get("detail"))),
        listing,
        key="name",
        special={"detail": lambda *_: True},
    )


def get(turn: Turn, policy: Policy, asks: RequestContext, key: str) -> ZoneRecord:
    """One zone."""
    for zone in _show_all(turn, policy.allows(asks, DETAIL)):
        if zone.name == key:
            return zone
    raise NotFound(f"Availability zone {key} could not be found.")


def of_host(turn: Turn, host: str, own: str | None) -> list[str]:
    """The zones that a host's aggregates make, or else its own; more than one is a mistake.

    Whoever acts on it has changed the host's row before, so that others who do so wait.

    :param own: the zone that its agent names, None for the default
    """
    query = (
        sa.select(Aggregate)
        .join(AggregateHost, AggregateHost.aggregate_id == Aggregate.id)
        .where(AggregateHost.host == host, Aggregate.zone.is_not(None))
    )
    made = {str(row.zone) for row in turn.all(query)}
    return sorted(made) or [own or str(turn.conf.default_zone)]


def _show_all(turn: Turn, with_hosts: bool) -> list[ZoneRecord]:
    named = sa.select(Aggregate).where(Aggregate.zone.is_not(None))
    zones: dict[str, dict[str, bool]] = {str(one.zone): {} for one in turn.all(named)}
    for host in turn.all(sa.select(Host).order_by(Host.name)):
        open_ = is_up(host) and not host.disabled and not host.paused
        zones.setdefault(host.zone, {})[host.name] = open_
    return [
        ZoneRecord(name=name, available=any(hosts.values()), hosts=hosts if with_hosts else {})
        for name, hosts in zones.items()
    ]
