"""Flavors."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from conductor.db.models import Flavor
from conductor.documents import FlavorChanges, FlavorFilters
from conductor.pages import page
from conductor.policy import Policy
from conductor.turn import Turn
from paddock.clients import read
from paddock.context import RequestContext
from paddock.errors import BadRequest, Conflict, NotFound
from paddock.records import FlavorRecord, Listing

SEE_PRIVATE = "os_compute_api:os-flavor-manage:update"
CHANGEABLE = {"description", "extra_specs"}


def list_page(
    turn: Turn, policy: Policy, asks: RequestContext, listing: Listing
) -> list[FlavorRecord]:
    """A page; private ones are an administrator's, who asks with ``is_public`` false or None."""
    read(listing.filters, FlavorFilters)
    wanted = listing.filters.get("is_public", True)
    if not policy.allows(asks, SEE_PRIVATE):
        wanted = True
    filters = {
        "is_public": lambda record, _: wanted is None or record.is_public == wanted,
        "min_memory_mb": lambda record, least: record.memory_mb >= least,
        "min_disk_gb": lambda record, least: record.disk_gb >= least,
    }
    asked = msgspec.structs.replace(listing, filters={"is_public": wanted, **listing.filters})
    return page(map(show, turn.all(sa.select(Flavor))), asked, special=filters)


def get(turn: Turn, policy: Policy, asks: RequestContext, key: str) -> FlavorRecord:
    """One flavor that the caller may see."""
    flavor = _find(turn, key)
    if not flavor.is_public and not policy.allows(asks, SEE_PRIVATE):
        raise _not_found(key)
    return show(flavor)


def create(turn: Turn, fields: dict[str, Any]) -> FlavorRecord:
    """A new flavor; without an id it gets a UUID.

    :raises Conflict: id or name are taken
    """
    named = {**fields, "id": str(fields.get("id") or turn.new_id())}
    try:
        record = msgspec.convert(named, FlavorRecord)
    except msgspec.ValidationError as error:
        raise BadRequest(f"flavor: {error}") from None
    if turn.get(Flavor, record.id):
        raise Conflict(f"Flavor with ID {record.id} already exists.")
    if turn.first(sa.select(Flavor).where(Flavor.name == record.name)):
        raise Conflict(f"Flavor with name {record.name} already exists.")
    turn.add(Flavor(**msgspec.structs.asdict(record)))
    return record


def update(turn: Turn, key: str, changes: dict[str, Any]) -> FlavorRecord:
    """Change the description or merge extra specs (None removes one)."""
    turn.change(Flavor, Flavor.id == key, name=Flavor.name)  # so that no other changes it beside
    flavor = _find(turn, key)
    if unknown := set(changes) - CHANGEABLE:
        raise BadRequest(f"A flavor's {min(unknown)} cannot be changed.")
    values: dict[str, Any] = dict(read(changes, FlavorChanges))
    if "extra_specs" in changes:
        values["extra_specs"] = merge(flavor.extra_specs, changes["extra_specs"])
    if values:
        turn.must(Flavor, Flavor.id == key, **values)
    return show(_find(turn, key))


def delete(turn: Turn, key: str) -> None:
    """Remove a flavor; instances keep the copy that they were made with."""
    if not turn.drop(Flavor, Flavor.id == key):
        raise _not_found(key)


def merge(stored: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A map with changes; None removes a name."""
    merged = {**stored, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def show(flavor: Flavor) -> FlavorRecord:
    """The flavor's record."""
    return msgspec.convert(flavor, FlavorRecord, from_attributes=True)


def _find(turn: Turn, key: str) -> Flavor:
    flavor = turn.get(Flavor, key)
    if flavor is None:
        raise _not_found(key)
    return flavor


def _not_found(key: str) -> NotFound:
    return NotFound(f"Flavor {key} could not be found.")
