"""What waits on a dead host and never started there goes to another one: creates and moves."""

from __future__ import annotations

import functools

import sqlalchemy as sa
from sqlalchemy import bindparam, select
from sqlalchemy.orm import aliased

from conductor import claims, live, migration, plan, power_on
from conductor.db.models import Action, Host, Instance, Step
from conductor.placement import claim_first, dead
from conductor.routing import Route, Wish
from conductor.turn import Moved, Turn
from paddock.actions import StepKind
from paddock.errors import NoValidHost, PaddockError, ZoneUnavailable

_BEGUN = aliased(Step)


def waiting_on_dead(turn: Turn, limit: int) -> list[Step]:
    """Steps whose host is dead, where no step of their action has started, and that another host
    could do: a launch of a new machine, a fetch, a receive. All others are bound to the disk that
    lies there.
    """
    return turn.all(_waiting(), limit=limit)


@functools.cache
def _waiting() -> sa.Select[tuple[Step]]:
    there = (_BEGUN.action_id == Step.action_id, _BEGUN.host == Step.host)
    return (
        select(Step)
        .join(Host, Host.name == Step.host)
        .join(Action, Action.id == Step.action_id)
        .where(Step.status == "accepted", dead())
        .where(~select(_BEGUN.id).where(*there, _BEGUN.started_at.is_not(None)).exists())
        .where(sa.or_(Action.verb == "create", Step.kind.in_((StepKind.FETCH, StepKind.RECEIVE))))
        .order_by(Step.id)
        .limit(bindparam("limit", type_=sa.Integer))
    )


def reroute(turn: Turn, step: Step) -> None:
    """Give a step that never started, with the claims, to another host: its action's plan is made
    anew. Its deadline does not move.

    :raises PaddockError: no other host can; then it waits on
    """
    action, instance = turn.get(Action, step.action_id), turn.get(Instance, step.instance_id)
    if action is None or instance is None or instance.busy != action.id:
        return
    turn.must(
        Instance, Instance.id == instance.id, Instance.busy == action.id,
        Instance.host == instance.host, Instance.disk_host == instance.disk_host,
        updated_at=turn.now,
    )  # fmt: skip
    claims.release(turn, instance.id, step.host)
    if action.verb == "create":
        steps = _place(turn, instance, action)
    elif action.verb == live.VERB:
        steps = live.place(turn, instance, action)
    elif action.verb == migration.VERB:
        steps = migration.place(turn, instance, action)
    else:
        steps = power_on.place(turn, instance, action, ZoneUnavailable)
    plan.replace(turn, action, step, steps)


def _place(turn: Turn, instance: Instance, action: Action) -> plan.Plan:
    host = turn.get(Host, claim_first(turn, instance, _wish(instance, action), action.id, _full))
    if host is None:
        raise Moved
    turn.must(Instance, Instance.id == instance.id, host=host.name, zone=host.zone)
    return [(StepKind.LAUNCH, host.name)]


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
