"""Times as the compute API writes them."""

from __future__ import annotations

import datetime
from typing import Any

from paddock.errors import BadRequest

RECORDED = len("2026-01-31T12:00:00.000000Z")
"""Of this form are the records' times; it needs no reading."""


def read_time(text: str) -> datetime.datetime:
    """A time in ISO 8601; one without a zone is UTC."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)


def seconds(text: str | None) -> str | None:
    """``2026-01-31T12:00:00Z``."""
    whole = micros(text)
    return f"{whole[:19]}Z" if whole else None


def micros(text: str | None) -> str | None:
    """``2026-01-31T12:00:00.000000``."""
    if text and len(text) == RECORDED and text[-1] == "Z":
        return text[:-1]
    return read_time(text).isoformat(timespec="microseconds")[:26] if text else None


def interval(query: dict[str, Any]) -> dict[str, Any]:
    """The filters that ``changes-since`` and ``changes-before`` of a query make.

    :raises BadRequest: one of them is no time
    """
    names = ("changes-since", "changes-before")
    return {name.replace("-", "_"): moment(name, query[name]) for name in names if query.get(name)}


def moment(name: str, text: str) -> str:
    """A time of a query, as the conductor reads it.

    :raises BadRequest: it is none
    """
    try:
        return read_time(text).isoformat()
    except (ValueError, OverflowError):  # the latter at the ends of the calendar
        raise BadRequest(f"{name} must be a time as in 2026-01-31T12:00:00Z.") from None
