"""Which agent process speaks for a host."""

from __future__ import annotations

from conductor.db.models import Host
from conductor.turn import Turn
from paddock.errors import StaleEpoch


def speaking(turn: Turn, host: str, epoch: str) -> Host:
    """The host, when the caller is its newest agent process.

    :raises StaleEpoch: it is not, or the host is unknown
    """
    row = turn.get(Host, host)
    if row is None or row.epoch != epoch:
        raise StaleEpoch(f"Another process speaks for host {host}, or none has said hello.")
    return row
