"""A create that waits on a dead host and never started there goes to another one."""

from __future__ import annotations

import sqlalchemy as sa

from conductor import claims
from conductor.db.models import Action, Host, Instance, Step
from conductor.placement import claim_first, dead
from conductor.routing import Route, Wish
from conductor.turn import Turn
from paddock.errors import NoValidHost, PaddockError


def waiting_on_dead(turn: Turn, limit: int) -> list[Step]:
    """Steps of creates that never started and whose host is dead."""
    query = (
        sa.select(Step)
        .join(Host, Host.name == Step.host)
        .join(Action, Action.id == Step.action_id)
        .where(Step.status == "accepted", Step.started_at.is_(None), dead())
        .where(Action.verb == "create")
        .order_by(Step.id)
        .limit(limit)
    )
    return turn.all(query)


def reroute(turn: Turn, step: Step) -> None:
    """Move a step that never started, with the instance's claims, to another host.

    Its deadline does not move.

    :raises NoValidHost: no other host has room; then it waits on
    """
    action, instance = turn.get(Action, step.action_id), turn.get(Instance, step.instance_id)
    if action is None or instance is None or instance.busy != action.id:
        return
    claims.release(turn, instance.id)
    host = turn.get(Host, claim_first(turn, instance, _wish(instance, action), action.id, _full))
    assert host is not None
    turn.must(
        Instance, Instance.id == instance.id, Instance.busy == action.id,
        Instance.host == step.host, Instance.disk_host.is_(None),
        host=host.name, zone=host.zone, updated_at=turn.now,
    )  # fmt: skip
    turn.must(
        Step, Step.id == step.id, Step.status == "accepted", Step.started_at.is_(None),
        Step.host == step.host, Step.attempt == step.attempt,
        host=host.name, hinted_at=turn.now,
    )  # fmt: skip
    turn.hint(turn.get(Step, step.id) or step)


def _wish(instance: Instance, action: Action) -> Wish:
    return Wish(
        vcpus=instance.vcpus,
        memory_mb=instance.memory_mb,
        disk_gb=instance.disk_gb,
        zone=action.params.get("zone"),
        host=action.params.get("host"),
    )


def _full(found: Route) -> PaddockError:
    return NoValidHost(found.why())
