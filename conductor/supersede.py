"""Ending what is going on for an instance because something stronger was accepted."""

from __future__ import annotations

import sqlalchemy as sa

from conductor import plan
from conductor.db.models import Action, Instance, Step
from conductor.turn import Turn


def supersede(
    turn: Turn, instance: Instance, by: str, cleanup: bool
) -> tuple[Action | None, list[Step]]:
    """End the instance's live action and its steps.

    Call it after the instance's row was changed, so that no step can begin meanwhile unseen.

    :param by: the verb that supersedes, for the reason
    :param cleanup: end the clean-up of former actions too
    :return: the action that was live, and all steps that ended, as they were before
    """
    reason = f"It was ended by a later '{by}'."
    mine = Step.instance_id == instance.id if cleanup else Step.action_id == instance.busy
    query = sa.select(Step).where(mine, Step.status.in_(plan.UNDONE))
    undone = turn.all(query.order_by(Step.id))
    for step in undone:
        plan.end(turn, step, "superseded", reason)
    action = turn.get(Action, instance.busy) if instance.busy else None
    if action is not None:
        plan.end_action(turn, action, "superseded", reason)
    return action, undone
