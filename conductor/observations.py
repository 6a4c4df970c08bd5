"""What agents see of idle instances, applied by compare-and-set on what was known."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import sqlalchemy as sa

from conductor import leftovers
from conductor.agents import has_had
from conductor.db.models import Instance, Step
from conductor.turn import Turn
from paddock.actions import ALIVE, OBSERVATIONS, PowerState, Seen, VmState
from paddock.records import Observation


def apply(turn: Turn, instance_id: str, host: str, seen: Seen) -> bool:
    """An idle instance becomes what its host shows; False when nothing changes."""
    return _apply(turn, instance_id, host, seen, sa.true())


def observe_all(turn: Turn, host: str, told: Sequence[Observation]) -> None:
    """As :func:`observe` for each; one query tells which of them are news."""
    ids = [one.instance_id for one in told]
    rows = {row.id: row for row in turn.all(sa.select(Instance).where(Instance.id.in_(ids)))}
    for one in sorted(told, key=lambda one: one.instance_id):
        row = rows.get(one.instance_id)
        if news(row, host, one.seen) or _is_stray(row, host, one.seen):
            observe(turn, host, one)


def observe(turn: Turn, host: str, seen: Observation) -> bool:
    """Like :func:`apply`, unless the agent's view is older than the ledger's.

    An instance whose last action no agent may have heard of has nothing to compare. Of an agent
    that knows no action, since its files were lost, only an instance that has rested for longer
    than calls live is judged, and any other one when the host reconciles.
    """
    fresh = Instance.generation == seen.generation
    if seen.action_id is None:
        return _apply(turn, seen.instance_id, host, seen.seen, fresh, rested=True)
    fresh = sa.and_(fresh, _is_last(seen.action_id))
    return _apply(turn, seen.instance_id, host, seen.seen, fresh)


def observe_late(turn: Turn, step: Step, seen: Seen) -> bool:
    """What a step left behind that the ledger had ended, unless a later one has begun since."""
    return _apply(turn, step.instance_id, step.host, seen, _is_last(step.action_id))


def is_recent(turn: Turn, moment: datetime.datetime) -> bool:
    """Whether a call that is worked on may have been sent before that moment."""
    return (turn.now - moment).total_seconds() <= turn.call_timeout


def _is_last(action_id: str) -> sa.ColumnElement[bool]:
    return sa.or_(Instance.last_action.is_(None), Instance.last_action == action_id)


def _apply(
    turn: Turn, instance_id: str, host: str, seen: Seen, fresh: sa.ColumnElement[bool],
    rested: bool = False,
) -> bool:  # fmt: skip
    instance = turn.get(Instance, instance_id)
    if _is_stray(instance, host, seen):
        _order_removal(turn, host, instance_id)
        return False
    change = news(instance, host, seen)
    if instance is None or change is None:
        return False
    if rested and is_recent(turn, instance.updated_at or instance.created_at):
        leftovers.order_reconcile(turn, host)
        return False
    state, power = change
    changed = turn.change(
        Instance,
        Instance.id == instance_id,
        Instance.busy.is_(None),
        Instance.host == host,
        Instance.generation == instance.generation,
        Instance.vm_state == instance.vm_state,
        fresh,
        vm_state=state.value,
        power_state=power.value,
        updated_at=turn.now,
    )
    if changed and state == VmState.POWERED_OFF and seen in ALIVE:
        leftovers.leave(turn, host, leftovers.GUEST, instance_id, instance.generation)
    return changed == 1


def _order_removal(turn: Turn, host: str, instance_id: str) -> None:
    if not has_had(turn, host, instance_id):
        turn.refuse(f"Instance {instance_id} never was on host {host}.")
    leftovers.order_reconcile(turn, host)


def _is_stray(instance: Instance | None, host: str, seen: Seen) -> bool:
    """Whether a guest runs where the ledger has nothing of it: reconcile removes that."""
    if instance is None or instance.busy or seen not in ALIVE:
        return False
    return host not in (instance.host, instance.disk_host)


def news(instance: Instance | None, host: str, seen: Seen) -> tuple[VmState, PowerState] | None:
    """What an instance becomes by what its host shows; None when that changes nothing."""
    if instance is None or instance.deleted or instance.busy or instance.host != host:
        return None
    found = OBSERVATIONS.get((VmState(instance.vm_state), seen))
    return None if found == (instance.vm_state, instance.power_state) else found
