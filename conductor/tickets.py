"""Tickets: what accept and create answer."""

from __future__ import annotations

from conductor.db.models import Step
from conductor.turn import Turn
from paddock.records import Ticket


def ticket(turn: Turn, action_id: str, instance_id: str, step: Step | None) -> Ticket:
    """The ticket of an accepted action.

    :param step: the one whose host is to be hinted, None when none waits
    """
    if step is None:
        return Ticket(action_id=action_id, instance_id=instance_id)
    return Ticket(
        action_id=action_id,
        instance_id=instance_id,
        step_id=step.id,
        host=step.host,
        kind=step.kind,
        rpc_version=turn.rpc_version(step.host),
    )
