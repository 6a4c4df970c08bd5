"""Deleting: it always works. Hosts that answer destroy, dead ones do so when they come back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from conductor import addresses, claims, leftovers, plan, quota
from conductor.db.models import Action, Host, Instance, Leftover, Step
from conductor.placement import is_dead
from conductor.turn import Turn
from paddock.actions import CLEANING, PowerState, StepKind, VmState


def destroy(turn: Turn, instance: Instance, action: Action, ended: list[Step]) -> list[Step]:
    """Plan the end of an instance whose row is already the deletion's.

    :param ended: steps that the deletion superseded
    :return: a DESTROY step for every living host where something of the instance may lie; empty
        when there is none, and then the instance is gone already
    """
    alive, dead = _places(turn, instance, ended)
    for host in dead:
        leftovers.leave(turn, host, leftovers.INSTANCE, instance.id, instance.generation + 1)
    if not alive:
        plan.end_action(turn, action, "succeeded")
        bury(turn, instance)
        return []
    return plan.insert(turn, action, [(StepKind.DESTROY, host) for host in alive], together=True)


def _places(turn: Turn, instance: Instance, ended: list[Step]) -> tuple[list[str], list[str]]:
    """Hosts where a step started, a disk lies or clean-up was due: the living ones, the dead."""
    places = {step.host for step in ended if step.kind in CLEANING}
    places |= _started(turn, ended)
    places |= {row.host for row in leftovers.of_instance(turn, instance.id)}
    if instance.disk_host:
        places |= {instance.disk_host, instance.host or instance.disk_host}
    hosts = {host.name: host for host in turn.all(sa.select(Host).where(Host.name.in_(places)))}
    alive = sorted(name for name in places if not is_dead(hosts.get(name)))
    return alive, sorted(places - set(alive))


def _started(turn: Turn, ended: list[Step]) -> set[str]:
    """Where any step of the ended actions began, also one that was done: its copy lies there."""
    actions = {step.action_id for step in ended}
    query = sa.select(Step.host).where(Step.action_id.in_(actions), Step.started_at.is_not(None))
    return set(turn.session.scalars(query))


def bury(turn: Turn, instance: Instance) -> None:
    """Make an instance a tombstone: claims, quota and addresses are free.

    Addresses stay out of use while a host that has not reconciled, nor is fenced, may still run
    the guest.
    """
    claims.release(turn, instance.id)
    quota.release(turn, instance)
    suspect = _suspect(turn, instance)
    if suspect is None:
        addresses.release(turn, instance.id)
    else:
        addresses.quarantine(turn, instance.id, suspect)
    lesser = Leftover.kind != leftovers.INSTANCE
    turn.drop(Leftover, Leftover.instance_id == instance.id, lesser)
    turn.must(Instance, Instance.id == instance.id, Instance.deleted.is_(False), **_tombstone(turn))


def _suspect(turn: Turn, instance: Instance) -> str | None:
    hosts = [row.host for row in leftovers.of_instance(turn, instance.id, leftovers.INSTANCE)]
    hosts.sort(key=lambda host: host != instance.host)
    for name in hosts:
        host = turn.get(Host, name)
        if host is not None and not host.forced_down:
            return name
    return None


def _tombstone(turn: Turn) -> dict[str, Any]:
    return {
        "deleted": True,
        "vm_state": VmState.DELETED.value,
        "power_state": PowerState.NOSTATE.value,
        "task_state": None,
        "busy": None,
        "host": None,
        "disk_host": None,
        "updated_at": turn.now,
        "terminated_at": turn.now,
    }
