"""How steps end, and with them actions: by an agent's finish or by the reaper's patience.

An action has succeeded, and its instance is idle, when the last step before the clean-up has:
nobody waits for clean-up, and a later move cannot collide with it, since the host that cleans up
is barred for the instance and removes only what has an older generation.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from conductor import claims, deletion, leftovers, live, migration, observations, plan
from conductor.db.models import Action, Host, Instance, Step
from conductor.giving_up import give_up
from conductor.moments import iso
from conductor.turn import Moved, Turn
from paddock.actions import ACTIONS, CLEANING, Seen, StepKind
from paddock.errors import PaddockError


def succeed(turn: Turn, step: Step) -> None:
    """A running step has done its work; the next one's turn comes, or the action has succeeded."""
    action, instance = rows_of(turn, step)
    if step.kind in CLEANING:
        _lock(turn, instance, action, True)
        plan.end(turn, step, "succeeded")
        _cleaned(turn, step, action, instance)
        return
    waiting = _waiting(turn, action)
    is_done = not waiting or waiting[0].kind in CLEANING
    changes = _new_place(turn, step, action, instance)
    if is_done:
        changes |= _success(turn, action, instance)
    _lock(turn, instance, action, False, **changes)
    plan.end(turn, step, "succeeded")
    _let_go(turn, step, action, instance)
    if is_done:
        plan.end_action(turn, action, "succeeded")
    for next_one in waiting if is_done else waiting[:1]:
        plan.issue(turn, next_one, action.verb)


def fail(
    turn: Turn, step: Step, reason: str, seen: Seen | None, details: str | None = None
) -> None:
    """A live step has failed, and with it its action; clean-up becomes a leftover instead.

    :param reason: what the instance's owner is told
    :param seen: what the host says of the guest now; None when nobody knows
    :param details: what administrators are told, when that is more
    """
    action, instance = rows_of(turn, step)
    cleaning = step.kind in CLEANING
    _lock(turn, instance, action, cleaning)
    plan.end(turn, step, "failed", details or reason)
    if cleaning:
        _left(turn, step, instance)
        _cleaned(turn, step, action, instance)
        return
    for later in _waiting(turn, action):
        plan.end(turn, later, "superseded", reason)
    changes = give_up(turn, instance, action, seen)
    plan.end_action(turn, action, "failed", reason)
    changes |= _failure(turn, action, {"message": reason, "details": details or reason}, seen)
    turn.must(Instance, {"id": instance.id, "busy": action.id}, **changes)
    if seen is None:
        leftovers.order_reconcile(turn, step.host)
    elif action.verb != live.VERB or not live.is_unknown(turn, instance):
        observations.apply(turn, instance.id, step.host, seen)


def rows_of(turn: Turn, step: Step) -> tuple[Action, Instance]:
    """A step's action and instance."""
    action, instance = turn.get(Action, step.action_id), turn.get(Instance, step.instance_id)
    if action is None or instance is None:
        raise Moved
    return action, instance


def _lock(turn: Turn, instance: Instance, action: Action, cleaning: bool, **changes: Any) -> None:
    """Change the instance's row first, so that endings of one instance come one after another."""
    facts = {"id": instance.id, "generation": instance.generation}
    if not cleaning:
        facts["busy"] = action.id
    turn.must(Instance, facts, **{"updated_at": turn.now} | changes)


def _waiting(turn: Turn, action: Action) -> list[Step]:
    if len(ACTIONS[action.verb].steps) == 1:
        return []
    query = sa.select(Step).where(Step.action_id == action.id, Step.status == "waiting")
    return turn.all(query.order_by(Step.ordinal))


def _new_place(turn: Turn, step: Step, action: Action, instance: Instance) -> dict[str, Any]:
    """Where the disk lies when a step has succeeded."""
    if action.verb == migration.VERB and step.kind == StepKind.FETCH:
        return migration.arrive(turn, step, instance)
    if step.kind == StepKind.ARRIVE:
        return live.arrive(turn, step, instance)
    if not _has_moved(step, instance):
        return {}
    host = turn.get(Host, step.host)
    return {
        "disk_host": step.host,
        "disk_generation": instance.generation,
        "zone": host.zone if host else instance.zone,
    }


def _has_moved(step: Step, instance: Instance) -> bool:
    return step.kind == StepKind.LAUNCH and step.host != instance.disk_host


def _let_go(turn: Turn, step: Step, action: Action, instance: Instance) -> None:
    """What a step that has succeeded leaves: no room claimed, or an old copy of the disk.

    A move whose end nobody knew may be completed by a later action, which has no step that
    discards the old copy.
    """
    if action.verb in live.MOVES:
        if step.kind in (StepKind.FETCH, StepKind.ARRIVE):
            claims.release(turn, instance.id, str(instance.disk_host), claims.COMPUTE)
        return
    if step.kind == StepKind.POWER_OFF:
        claims.release(turn, instance.id, step.host, claims.COMPUTE)
    if _has_moved(step, instance) and action.verb != "vm-poweron":
        old, below = str(instance.disk_host), instance.generation
        leftovers.leave(turn, old, leftovers.DISK, instance.id, below)


def _success(turn: Turn, action: Action, instance: Instance) -> dict[str, Any]:
    row = ACTIONS[action.verb]
    changes: dict[str, Any] = {"busy": None, "task_state": None, "fault": None}
    if row.success is not None:
        changes["vm_state"] = row.success.value
    if row.power is not None:
        changes["power_state"] = row.power.value
    if instance.launched_at is None:
        changes["launched_at"] = turn.now
    return changes


def _failure(turn: Turn, action: Action, said: dict[str, str], seen: Seen | None) -> dict[str, Any]:
    """The instance is idle again; what nobody saw, an agent that never heard of it may tell."""
    failure = ACTIONS[action.verb].failure
    fault = {"code": PaddockError.status, "created": iso(turn.now), **said}
    changes: dict[str, Any] = {"busy": None, "task_state": None, "fault": fault}
    if failure is not None:
        changes["vm_state"] = failure.value
    if seen is None:
        changes["last_action"] = None
    return changes


def _left(turn: Turn, step: Step, instance: Instance) -> None:
    """Clean-up that was not done waits for the host to reconcile."""
    kind = leftovers.DISK if step.kind == StepKind.DISCARD else leftovers.INSTANCE
    below = instance.disk_generation if kind == leftovers.DISK else instance.generation + 1
    leftovers.leave(turn, step.host, kind, instance.id, below)


def _cleaned(turn: Turn, step: Step, action: Action, instance: Instance) -> None:
    """After a discard the disk's old claim goes, unless the disk is left there; after the last
    destroy the instance is gone."""
    if step.kind == StepKind.DISCARD:
        left = leftovers.of_instance(turn, instance.id, leftovers.DISK)
        if step.host not in {row.host for row in left}:
            claims.release(turn, instance.id, step.host, claims.DISK)
        return
    query = sa.select(Step).where(Step.action_id == action.id, Step.status.in_(plan.LIVE))
    if instance.busy == action.id and turn.first(query) is None:
        plan.end_action(turn, action, "succeeded")
        deletion.bury(turn, instance)
