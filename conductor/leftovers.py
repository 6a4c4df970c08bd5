"""What could not be undone on a host yet; settled when that host reconciles."""

from __future__ import annotations

import sqlalchemy as sa

from conductor.db.models import Host, Leftover
from conductor.turn import Moved, Turn

GUEST = "guest"
DISK = "disk"
INSTANCE = "instance"
ARRIVAL = "arrival"
"""A guest may have come there live: nothing is done with its machine until that host has told."""
UNDECIDED = (GUEST, ARRIVAL)
"""Of these only the host itself, or a fence, says what they came to."""


def leave(turn: Turn, host: str, kind: str, instance_id: str, generation: int) -> None:
    """Note something left on a host and order the host to reconcile.

    :param kind: ``guest``, ``disk``, ``instance`` or ``arrival``
    :param generation: for ``disk``, copies below it are to go
    """
    row = turn.first(
        sa.select(Leftover).where(
            Leftover.host == host, Leftover.kind == kind, Leftover.instance_id == instance_id
        )
    )
    if row is None:
        turn.add(_row(turn, host, kind, instance_id, generation))
    else:
        anew = {"generation": max(row.generation, generation), "created_at": turn.now}
        turn.change(Leftover, Leftover.id == row.id, **anew)
    order_reconcile(turn, host)


def order_reconcile(turn: Turn, host: str) -> None:
    """Have a host compare all that it has with the ledger."""
    turn.change(Host, Host.name == host, reconcile=True)


def _row(turn: Turn, host: str, kind: str, instance_id: str, generation: int) -> Leftover:
    return Leftover(
        id=turn.new_id(),
        host=host,
        kind=kind,
        instance_id=instance_id,
        generation=generation,
        created_at=turn.now,
    )


def of_instance(turn: Turn, instance_id: str, *kinds: str) -> list[Leftover]:
    """What is left of an instance, of these kinds or of all."""
    query = sa.select(Leftover).where(Leftover.instance_id == instance_id)
    return turn.all(query.where(Leftover.kind.in_(kinds)) if kinds else query)


def on_host(turn: Turn, host: str) -> list[Leftover]:
    """What is left on a host."""
    return turn.all(sa.select(Leftover).where(Leftover.host == host).order_by(Leftover.id))


def settle(turn: Turn, leftover: Leftover) -> None:
    """Strike a leftover out as it was read; Moved when it has changed meanwhile."""
    if not turn.drop(
        Leftover, Leftover.id == leftover.id, Leftover.generation == leftover.generation
    ):
        raise Moved
