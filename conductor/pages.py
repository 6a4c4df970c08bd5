"""Filters, order and pages of the small collections, which are read whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from paddock.errors import BadRequest
from paddock.records import Listing
from paddock.records.base import Record

R = TypeVar("R", bound=Record)
Filters = Mapping[str, Callable[[Any, Any], bool]]
MOST = 500


def page(
    records: Iterable[R],
    listing: Listing,
    key: str = "id",
    default: tuple[str, str] | None = None,
    special: Filters | None = None,
) -> list[R]:
    """The part of a collection that a listing asks for.

    :param key: the field that markers name and that decides ties
    :param default: field and direction of the order when none is asked for
    :param special: filters other than equality, as functions of record and value
    :raises BadRequest: there is no such filter, sort key or marker
    """
    found = [record for record in records if _passes(record, listing, special or {})]
    order = listing.sort or ([default] if default else [])
    for name, direction in reversed([*order, (key, "asc")]):
        if not found:
            break
        _check_field(found[0], name, "sort_key")
        found.sort(key=_by(name), reverse=direction == "desc")
    begin = _after(found, listing.marker, key)
    return found[begin : begin + most(listing)]


def most(listing: Listing) -> int:
    """How many rows a page has at most."""
    return max(0, min(listing.limit, MOST))


def _passes(record: Record, listing: Listing, special: Filters) -> bool:
    for name, value in listing.filters.items():
        if name in special:
            passes = special[name](record, value)
        else:
            _check_field(record, name, "filter")
            own = getattr(record, name)
            passes = own in value if isinstance(value, list) else own == value
        if not passes:
            return False
    return True


def _check_field(record: Record, name: str, what: str) -> None:
    if isinstance(getattr(record, name, {}), dict | list):
        raise BadRequest(f"{what}: there is no field {name!r} here.")


def _by(name: str) -> Callable[[Record], tuple[bool, Any]]:
    """Nothing comes before everything."""

    def rank(record: Record) -> tuple[bool, Any]:
        value = getattr(record, name)
        return (value is not None, value if value is not None else 0)

    return rank


def _after(found: list[R], marker: str | None, key: str) -> int:
    if marker is None:
        return 0
    for place, record in enumerate(found):
        if str(getattr(record, key)) == marker:
            return place + 1
    raise BadRequest(f"marker: {marker!r} is not in this list.")
