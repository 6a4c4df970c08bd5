"""When the certificates of the cloud's channels end, as hosts and conductors told."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

from conductor.moments import read_iso
from paddock.certificates import CERTIFICATES_END, first_end
from paddock.errors import BadRequest
from paddock.records import HostRecord


def end_of(record: HostRecord) -> datetime.datetime | None:
    """When the first certificate of a host or conductor ends, in UTC; None when it told nothing
    that can be read."""
    told = record.extra.get(CERTIFICATES_END)
    try:
        return read_iso(told, CERTIFICATES_END) if isinstance(told, str) else None
    except BadRequest:
        return None


def end_here(files: Iterable[Path]) -> datetime.datetime | None:
    """When the first certificate of these files ends, in UTC."""
    found = first_end(files)
    return found and found.replace(tzinfo=None)


def warnings(
    ends: Iterable[tuple[str, datetime.datetime | None]], now: datetime.datetime, days: float
) -> list[str]:
    """A sentence for each whose first certificate has ended, or ends within so many days.

    :param ends: whose, and when in UTC
    :param now: in UTC
    """
    return [
        f"a certificate of {whose} {'ended' if end <= now else 'ends'} on {end:%Y-%m-%d}"
        for whose, end in ends
        if end is not None and end - now < datetime.timedelta(days=days)
    ]
