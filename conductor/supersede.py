"""Ending what is going on for an instance because something stronger was accepted."""

from __future__ import annotations

import sqlalchemy as sa

from conductor import plan
from conductor.db.models import Action, Instance, Step
from conductor.turn import Turn


def supersede(turn: Turn, instance: Instance, by: str) -> tuple[Action | None, list[Step]]:
    """End the instance's live action and all its live steps, clean-up included.

    Call it after the instance's row was changed, so that no step can begin meanwhile unseen.

    :param by: the verb that supersedes, for the reason
    :return: the action that was live, and all steps that ended, as they were before
    """
    reason = f"superseded by {by}"
    undone = turn.all(
        sa.select(Step)
        .where(Step.instance_id == instance.id, Step.status.in_(plan.UNDONE))
        .order_by(Step.id)
    )
    for step in undone:
        plan.end(turn, step, "superseded", reason)
    action = turn.get(Action, instance.busy) if instance.busy else None
    if action is not None:
        plan.end_action(turn, action.id, "superseded", reason)
    return action, undone
