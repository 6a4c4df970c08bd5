"""Aggregates: groups of hosts; one with a zone makes that availability zone."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from conductor import zones
from conductor.db.models import Aggregate, AggregateHost, Host
from conductor.documents import AggregateChanges, NewAggregate
from conductor.flavors import merge
from conductor.hosts import refuse_instances
from conductor.moments import iso
from conductor.pages import page
from conductor.turn import Turn
from paddock.clients import read
from paddock.errors import BadRequest, Conflict, NotFound
from paddock.records import AggregateRecord, Listing

FIELDS = {"name", "zone", "metadata", "add_host", "remove_host"}


def list_page(turn: Turn, listing: Listing) -> list[AggregateRecord]:
    """A page of aggregates."""
    members: dict[int, list[str]] = {}
    for member in turn.all(sa.select(AggregateHost).order_by(AggregateHost.host)):
        members.setdefault(member.aggregate_id, []).append(member.host)
    rows = turn.all(sa.select(Aggregate))
    return page([_show(row, members.get(row.id, [])) for row in rows], listing)


def get(turn: Turn, key: str) -> AggregateRecord:
    """One aggregate, by its number."""
    found = _find(turn, key)
    return _show(found, _hosts(turn, found.id))


def create(turn: Turn, fields: dict[str, Any]) -> AggregateRecord:
    """A new aggregate without hosts.

    :raises Conflict: the name is taken
    """
    if unknown := set(fields) - {"name", "zone"}:
        raise BadRequest(f"A new aggregate takes no {min(unknown)}.")
    read(fields, NewAggregate)
    _refuse_taken(turn, fields["name"])
    row = Aggregate(
        uuid=turn.new_id(), name=fields["name"], zone=fields.get("zone"), created_at=turn.now
    )
    turn.add(row)
    return get(turn, str(row.id))


def update(turn: Turn, key: str, changes: dict[str, Any]) -> AggregateRecord:
    """Change name, zone, metadata (None removes an entry) or members.

    :raises Conflict: the name is taken, or a host would change its zone that has instances or is
        in an aggregate with another zone
    """
    if unknown := set(changes) - FIELDS:
        raise BadRequest(f"An aggregate's {min(unknown)} cannot be changed.")
    read(changes, AggregateChanges)
    row = _find(turn, key)
    _seize(turn, row, **_values(turn, row, changes))
    touched = set(_hosts(turn, row.id)) if "zone" in changes else set()
    if "add_host" in changes:
        _add_host(turn, row, changes["add_host"])
        touched.add(changes["add_host"])
    if "remove_host" in changes:
        _remove_host(turn, row, changes["remove_host"])
        touched.add(changes["remove_host"])
    _move(turn, sorted(touched))
    return get(turn, key)


def _seize(turn: Turn, row: Aggregate, **values: Any) -> None:
    """Change the aggregate before its members are read, so that others who change it wait."""
    turn.must(Aggregate, Aggregate.id == row.id, updated_at=turn.now, **values)


def _values(turn: Turn, row: Aggregate, changes: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if changes.get("name", row.name) != row.name:
        _refuse_taken(turn, changes["name"])
        values["name"] = changes["name"]
    if "zone" in changes:
        values["zone"] = changes["zone"]
    if "metadata" in changes:
        values["details"] = merge(row.details, changes["metadata"])
    return values


def delete(turn: Turn, key: str) -> None:
    """Remove an aggregate.

    :raises Conflict: it has hosts
    """
    row = _find(turn, key)
    _seize(turn, row)
    if _hosts(turn, row.id):
        raise Conflict(f"Cannot delete aggregate {row.id}: it has hosts.")
    turn.drop(Aggregate, Aggregate.id == row.id)


def _add_host(turn: Turn, row: Aggregate, host: str) -> None:
    if not _seize_host(turn, host):
        raise NotFound(f"Compute host {host} could not be found.")
    if host in _hosts(turn, row.id):
        raise Conflict(f"Aggregate {row.id} already has host {host}.")
    turn.add(AggregateHost(aggregate_id=row.id, host=host))


def _remove_host(turn: Turn, row: Aggregate, host: str) -> None:
    member = (AggregateHost.aggregate_id == row.id, AggregateHost.host == host)
    if not turn.drop(AggregateHost, *member):
        raise NotFound(f"Aggregate {row.id} has no host {host}.")


def _move(turn: Turn, hosts: list[str]) -> None:
    """Give hosts the zone that their aggregates, or they themselves, name now."""
    for name in hosts:
        _seize_host(turn, name)
        host = turn.get(Host, name)
        if host is not None and (zone := _zone(turn, host)) != host.zone:
            refuse_instances(turn, name, "change the availability zone of")
            turn.must(Host, Host.name == name, zone=zone)


def _seize_host(turn: Turn, host: str) -> int:
    """Others who change or remove the host wait; gives whether it is there."""
    return turn.change(Host, Host.name == host, zone=Host.zone)


def _zone(turn: Turn, host: Host) -> str:
    zone, *others = zones.of_host(turn, host.name, host.own_zone)
    if others:
        both = " and ".join([zone, *others])
        raise Conflict(f"Host {host.name} would be in two availability zones: {both}.")
    return zone


def _refuse_taken(turn: Turn, name: str) -> None:
    if turn.first(sa.select(Aggregate).where(Aggregate.name == name)):
        raise Conflict(f"Aggregate {name} already exists.")


def _hosts(turn: Turn, key: int) -> list[str]:
    query = sa.select(AggregateHost.host).where(AggregateHost.aggregate_id == key)
    return list(turn.session.scalars(query.order_by(AggregateHost.host)))


def _find(turn: Turn, key: str) -> Aggregate:
    row = turn.get(Aggregate, int(key)) if key.isdecimal() and len(key) < 10 else None
    if row is None:
        raise NotFound(f"Aggregate {key} could not be found.")
    return row


def _show(row: Aggregate, hosts: list[str]) -> AggregateRecord:
    return AggregateRecord(
        id=row.id,
        uuid=row.uuid,
        name=row.name,
        zone=row.zone,
        hosts=hosts,
        metadata=row.details,
        created_at=iso(row.created_at),
        updated_at=iso(row.updated_at),
    )
