"""Which agent process speaks for a host, and what is that host's."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa

from conductor.db.models import Claim, Host, Leftover, Step
from conductor.turn import Turn
from paddock.errors import Forbidden, StaleEpoch, StepRefused
from paddock.records import StepRef


def speaking(turn: Turn, host: str, epoch: str) -> Host:
    """The host, when the caller is its newest agent process.

    :raises Forbidden: the host is revoked
    :raises StaleEpoch: it is not, or the host is unknown
    """
    row = turn.get(Host, host)
    refuse_revoked(row)
    if row is None or row.epoch != epoch:
        raise StaleEpoch(f"Another process speaks for host {host}, or none has said hello.")
    return row


class Known(Protocol):
    """What is known of a host."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def revoked(self) -> bool:
        """Whether an administrator cut it off."""


def refuse_revoked(host: Known | None) -> None:
    """Raise Forbidden for a host that an administrator cut off."""
    if host is not None and host.revoked:
        raise Forbidden(
            f"Host {host.name} is revoked: 'paddock-manage host add {host.name}' takes it in again."
        )


def own_step(turn: Turn, ref: StepRef) -> Step | None:
    """The step that a host's agent names; StepRefused when it is another host's."""
    step = turn.get(Step, ref.step_id)
    if step is not None and step.host != ref.host:
        raise StepRefused(f"Step {step.id} is not on host {ref.host}.")
    return step


def has_had(turn: Turn, host: str, instance_id: str) -> bool:
    """Whether the ledger knows of anything of the instance on the host: work, room or leftovers."""
    for kind in (Step, Claim, Leftover):
        mine = (kind.instance_id == instance_id, kind.host == host)
        if turn.session.scalar(sa.select(sa.literal(1)).where(*mine).limit(1)):
            return True
    return False
