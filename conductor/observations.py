"""What agents see of idle instances, applied by compare-and-set on what was known."""

from __future__ import annotations

import sqlalchemy as sa

from conductor.db.models import Instance, Step
from conductor.turn import Turn
from paddock.actions import OBSERVATIONS, Seen, VmState
from paddock.records import Observation


def apply(turn: Turn, instance_id: str, host: str, seen: Seen) -> bool:
    """An idle instance becomes what its host shows; False when nothing changes."""
    return _apply(turn, instance_id, host, seen, sa.true())


def observe(turn: Turn, host: str, seen: Observation) -> bool:
    """Like :func:`apply`, unless the agent's view is older than the ledger's.

    An agent that knows no action, or an instance whose last action no agent may have heard of,
    have nothing to compare.
    """
    fresh = Instance.generation == seen.generation
    if seen.action_id is not None:
        fresh = sa.and_(fresh, _is_last(seen.action_id))
    return _apply(turn, seen.instance_id, host, seen.seen, fresh)


def observe_late(turn: Turn, step: Step, seen: Seen) -> bool:
    """What a step left behind that the ledger had ended, unless a later one has begun since."""
    return _apply(turn, step.instance_id, step.host, seen, _is_last(step.action_id))


def _is_last(action_id: str) -> sa.ColumnElement[bool]:
    return sa.or_(Instance.last_action.is_(None), Instance.last_action == action_id)


def _apply(
    turn: Turn, instance_id: str, host: str, seen: Seen, fresh: sa.ColumnElement[bool]
) -> bool:
    instance = turn.get(Instance, instance_id)
    if instance is None or instance.deleted or instance.busy or instance.host != host:
        return False
    found = OBSERVATIONS.get((VmState(instance.vm_state), seen))
    if found is None or found == (instance.vm_state, instance.power_state):
        return False
    state, power = found
    changed = turn.change(
        Instance,
        Instance.id == instance_id,
        Instance.busy.is_(None),
        Instance.host == host,
        Instance.vm_state == instance.vm_state,
        fresh,
        vm_state=state.value,
        power_state=power.value,
        updated_at=turn.now,
    )
    return changed == 1
