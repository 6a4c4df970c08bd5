"""Moving a machine that does not run: its disk goes to another host, and the machine with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from conductor import claims, leftovers
from conductor.db.models import Action, Host, Instance, Step
from conductor.placement import barred, claim_first, zone_exists
from conductor.plan import Plan
from conductor.power_on import check_launch_is_known
from conductor.routing import Route, Wish
from conductor.turn import Turn
from paddock.actions import StepKind, VmState
from paddock.errors import BadRequest, NoValidHost

VERB = "migrate"


def plan(turn: Turn, instance: Instance, action: Action) -> Plan:
    """As :func:`place`, with the step before: the machine's own host sees to it that its guest is
    off, and cannot be started by what is still under way there, before the disk is read."""
    return [(StepKind.POWER_OFF, str(instance.disk_host)), *place(turn, instance, action)]


def place(turn: Turn, instance: Instance, action: Action) -> Plan:
    """Claim room for a machine on another host than its own, and say which steps take it there.

    :param action: may ask for a host or a zone
    :raises BadRequest: there is no such host or zone, or it is the machine's own host
    :raises NoValidHost: no host can take the machine
    :raises HostUnavailable: it is not known yet what became of the last launch
    """
    target = claim_target(turn, instance, action)
    return [(StepKind.FETCH, target), (StepKind.DISCARD, str(instance.disk_host))]


def claim_target(turn: Turn, instance: Instance, action: Action, *, live: bool = False) -> str:
    """Claim room for a machine on another host than its own; gives its name.

    :param live: whether the machine comes running
    :raises PaddockError: see :func:`place`
    """
    _check_target(turn, instance, action.params)
    check_launch_is_known(turn, instance)
    zone, host = (action.params.get(name) for name in ("availability_zone", "host"))
    wish = replace(wish_of(instance, zone, host, barred(turn, instance.id)), live=live)
    return claim_first(turn, instance, wish, action.id, lambda found: _nowhere(instance, found))


def _check_target(turn: Turn, instance: Instance, params: dict[str, Any]) -> None:
    host, zone = params.get("host"), params.get("availability_zone")
    if host is not None and turn.get(Host, host) is None:
        raise BadRequest(f"host: The host {host} does not exist.")
    if host is not None and host == instance.disk_host:
        raise BadRequest(f"host: Instance {instance.id} is on host {host} already.")
    if zone is not None and not zone_exists(turn, zone):
        raise BadRequest(f"availability_zone: The zone {zone} does not exist.")


def wish_of(instance: Instance, zone: str | None, host: str | None, barred: frozenset[str]) -> Wish:
    """What a machine needs of the host that it moves to."""
    return Wish(
        vcpus=instance.vcpus,
        memory_mb=instance.memory_mb,
        disk_gb=instance.disk_gb,
        zone=zone,
        host=host,
        disk_host=instance.disk_host,
        barred=barred,
        leaves=True,
        runs=instance.vm_state != VmState.POWERED_OFF,
    )


def _nowhere(instance: Instance, found: Route) -> NoValidHost:
    return NoValidHost(f"No host can take instance {instance.id}: {found.why()}.")


def arrive(turn: Turn, step: Step, instance: Instance) -> dict[str, Any]:
    """The verified copy is the machine's disk from here: changes to its row.

    Its generation tells the copy, and all that is made of it, from what is left behind.
    """
    host = turn.get(Host, step.host)
    return {
        "host": step.host,
        "disk_host": step.host,
        "generation": instance.generation + 1,
        "disk_generation": instance.generation + 1,
        "zone": host.zone if host else instance.zone,
    }


def stay(turn: Turn, instance: Instance, steps: Sequence[Step]) -> dict[str, Any]:
    """A move that failed: the machine stays where it is; changes to its row.

    The generation of a copy that may lie on the target is never used again, so that a later move
    cannot take a stale copy for its own.
    """
    fetch = next(step for step in steps if step.kind == StepKind.FETCH)
    claims.release(turn, instance.id, fetch.host)
    if fetch.started_at is None:
        return {}
    copy = instance.generation + 1
    leftovers.leave(turn, fetch.host, leftovers.DISK, instance.id, copy + 1)
    return {"generation": copy}


def give_way(turn: Turn, ended: Sequence[Step]) -> None:
    """The machine is deleted while it moves: it will run on no target, whose copy goes with it."""
    for step in ended:
        if step.kind in (StepKind.FETCH, StepKind.RECEIVE, StepKind.ARRIVE):
            claims.release(turn, step.instance_id, step.host, claims.COMPUTE)
