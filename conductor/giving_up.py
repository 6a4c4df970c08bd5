"""What an action that ends without success leaves behind: claims, copies, perhaps a guest."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from conductor import claims, leftovers, live, migration
from conductor.db.models import Action, Instance, Step
from conductor.turn import Turn
from paddock.actions import LAUNCHING, Seen, StepKind


def give_up(turn: Turn, instance: Instance, action: Action, seen: Seen | None) -> dict[str, Any]:
    """Undo what an action took, as far as it is certain that nothing of it runs.

    Where its launch may have happened, everything stays claimed and a ``guest`` leftover bars
    other hosts until this one has reported (design §3.7).

    :param seen: what the host says of the guest now; None when nobody knows
    :return: changes to the instance's row, for the caller's own UPDATE
    """
    query = sa.select(Step).where(Step.action_id == action.id).order_by(Step.ordinal)
    steps = turn.all(query)
    if action.verb == migration.VERB:
        return migration.stay(turn, instance, steps)
    if action.verb == live.VERB:
        return live.give_up(turn, instance, steps, seen)
    launch = next((step for step in steps if step.kind in LAUNCHING), None)
    if launch is None:
        return {}
    if launch.started_at is not None and not _is_gone(instance, launch, seen):
        if seen is None or action.verb == "vm-poweron":
            leftovers.leave(turn, launch.host, leftovers.GUEST, instance.id, instance.generation)
        return {}
    if action.verb == "create":
        claims.release(turn, instance.id)
        if launch.attempt > 1:  # a former attempt may have made the disk and no more
            leftovers.leave(turn, launch.host, leftovers.DISK, instance.id, instance.generation + 1)
        return {"host": None, "disk_host": None}
    if action.verb == "vm-poweron":
        return _stay(turn, instance, steps, launch)
    return {}


def _is_gone(instance: Instance, launch: Step, seen: Seen | None) -> bool:
    """Whether nothing of the launch can be there.

    After a hand-back, a former attempt on a moved copy may have run and written to it, so the copy
    may be newer than the disk it was made from: the host's reconcile decides then.
    """
    moving = instance.disk_host not in (None, launch.host)
    return seen == Seen.GONE and not (moving and launch.attempt > 1)


def _stay(turn: Turn, instance: Instance, steps: list[Step], launch: Step) -> dict[str, Any]:
    """The machine stays off, where its disk lies.

    A copy that may lie on the target takes its generation with it: that name is never used again,
    so that a later move cannot take a stale copy for its own.
    """
    target = launch.host
    if target == instance.disk_host:
        claims.release(turn, instance.id, target, claims.COMPUTE)
        return {}
    claims.release(turn, instance.id, target)
    fetched = any(s.kind == StepKind.FETCH and s.started_at is not None for s in steps)
    if not fetched:
        return {}
    launched = launch.started_at is not None
    copy = instance.generation if launched else instance.generation + 1
    leftovers.leave(turn, target, leftovers.DISK, instance.id, copy + 1)
    return {"host": instance.disk_host, "generation": copy}
