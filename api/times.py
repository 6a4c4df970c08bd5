"""Times as the compute API writes them."""

from __future__ import annotations

import datetime


def read_time(text: str) -> datetime.datetime:
    """A time in ISO 8601; one without a zone is UTC."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)


def seconds(text: str | None) -> str | None:
    """``2026-01-31T12:00:00Z``."""
    return read_time(text).strftime("%Y-%m-%dT%H:%M:%SZ") if text else None


def micros(text: str | None) -> str | None:
    """``2026-01-31T12:00:00.000000``."""
    return read_time(text).strftime("%Y-%m-%dT%H:%M:%S.%f") if text else None
