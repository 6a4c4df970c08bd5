"""Times on the wire."""

from __future__ import annotations

import datetime
from typing import overload

from paddock.errors import BadRequest


@overload
def iso(moment: datetime.datetime) -> str: ...
@overload
def iso(moment: None) -> None: ...
def iso(moment: datetime.datetime | None) -> str | None:
    """ISO 8601 in UTC, to the microsecond, of a naive UTC time."""
    return None if moment is None else moment.isoformat(timespec="microseconds") + "Z"


def read_iso(text: str, field: str) -> datetime.datetime:
    """The naive UTC time that an ISO 8601 text names.

    :param field: named in the BadRequest for a text that names none
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):  # the first and last days of all are not those of UTC
        raise BadRequest(f"{field}: {text!r} is not an ISO 8601 time.") from None
    return moment
