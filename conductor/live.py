"""Moving a machine that runs: its memory and disk go to another host, and the machine with them.

The target makes room (*receive*), the source hands the guest over (*send*), the target says that
it runs there (*arrive*): only then is the machine the target's, and what it had at home goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conductor import claims, leftovers, migration
from conductor.db.models import Action, Host, Instance, Leftover, Step
from conductor.keeper import LIVE, UNTOLD, Here, at_target, keeper
from conductor.plan import Plan
from conductor.turn import Turn
from paddock.actions import Seen, StepKind, VmState
from paddock.errors import BadRequest, Unsupported
from paddock.records import Found

VERB = "os-migrateLive"
MOVES = (migration.VERB, VERB)
"""The verbs of machines that have room in two places on their way."""


def plan(turn: Turn, instance: Instance, action: Action) -> Plan:
    """Claim room for a machine on another host than its own, and say which steps take it there.

    :param action: may ask for a host
    :raises BadRequest: there is no such host, or it is the machine's own; or the disk is to stay
    :raises NoValidHost: no host can take the machine
    :raises HostUnavailable: it is not known yet what became of its last launch or move
    :raises Unsupported: nobody knows how large its disk is
    """
    if action.params.get("block_migration") is False:
        raise BadRequest("block_migration: Hosts share no disks, so it must be auto, or true.")
    if not instance.disk_gb:
        raise Unsupported(
            f"The flavor of instance {instance.id} leaves the size of the disk to the image, so "
            "no other host can make one to receive it."
        )
    return place(turn, instance, action)


def place(turn: Turn, instance: Instance, action: Action) -> Plan:
    """As :func:`plan`, for a machine that may be moved."""
    target = migration.claim_target(turn, instance, action, live=True)
    source = str(instance.host)
    return [
        (StepKind.RECEIVE, target), (StepKind.SEND, source), (StepKind.ARRIVE, target),
        (StepKind.DISCARD, source),
    ]  # fmt: skip


def give_up(
    turn: Turn, instance: Instance, steps: Sequence[Step], seen: Seen | None
) -> dict[str, Any]:
    """A move that failed or was ended: the machine stays, unless it may have arrived.

    :param seen: what the host of the step that failed says of the guest; None when nobody knows
    :return: changes to the instance's row
    """
    receive, send = (next(s for s in steps if s.kind == kind) for kind in _HALVES)
    source: Here = "disk"
    if send.started_at is None or (send.status == "failed" and seen is Seen.RUNNING):
        source = "running"
    if keeper(LIVE, source, UNTOLD) == "source":
        _stay(turn, instance, receive.host, receive.started_at is not None)
    else:
        leftovers.leave(turn, receive.host, leftovers.ARRIVAL, instance.id, instance.generation + 1)
        leftovers.order_reconcile(turn, send.host)
        return {"last_action": None}
    return {}


_HALVES = (StepKind.RECEIVE, StepKind.SEND)


def is_unknown(turn: Turn, instance: Instance) -> bool:
    """Whether a host has yet to tell if the machine came there."""
    return bool(leftovers.of_instance(turn, instance.id, leftovers.ARRIVAL))


def settle(
    turn: Turn, row: Leftover, instance: Instance, host: Host, thing: Found | None
) -> dict[str, Any]:
    """The host to which a machine was on its way tells what it has: changes to its row.

    :param row: the arrival that nobody knew the end of
    """
    leftovers.settle(turn, row)
    source = turn.get(Host, str(instance.disk_host))
    kept_by = keeper(LIVE, "disk" if source else "gone", at_target(row.generation, thing))
    if kept_by == "target":
        return _come(turn, instance, host, row.generation)
    _stay(turn, instance, host.name, True)
    if kept_by == "nobody":
        claims.release(turn, instance.id)
        return {"host": None, "disk_host": None, "vm_state": VmState.ERROR.value}
    leftovers.order_reconcile(turn, str(instance.disk_host))
    return {}


def stay_unfenced(turn: Turn, instance: Instance, fenced: str) -> None:
    """Surely nothing runs on the host to which a machine was on its way."""
    _stay(turn, instance, fenced, True)


def arrive(turn: Turn, step: Step, instance: Instance) -> dict[str, Any]:
    """The guest runs on the step's host: changes to its row."""
    host = turn.get(Host, step.host)
    generation = instance.generation + 1
    zone = host.zone if host else instance.zone
    return _place_of(step.host, generation, zone)


def _come(turn: Turn, instance: Instance, host: Host, generation: int) -> dict[str, Any]:
    home = str(instance.disk_host)
    claims.release(turn, instance.id, home, claims.COMPUTE)
    if turn.get(Host, home):
        leftovers.leave(turn, home, leftovers.DISK, instance.id, generation)
    return _place_of(host.name, generation, host.zone)


def _place_of(host: str, generation: int, zone: str | None) -> dict[str, Any]:
    return {
        "host": host,
        "disk_host": host,
        "generation": generation,
        "disk_generation": generation,
        "zone": zone,
    }


def _stay(turn: Turn, instance: Instance, target: str, was_there: bool) -> None:
    """The generation stays as it is, since the guest that runs has it: the target is barred until
    what came there is removed, so no later move meets it."""
    claims.release(turn, instance.id, target)
    if was_there:
        leftovers.leave(turn, target, leftovers.DISK, instance.id, instance.generation + 2)
