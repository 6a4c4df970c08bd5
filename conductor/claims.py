"""What instances hold of hosts: rows of claims, and the counters that sum them up.

A claim is one UPDATE of the host's counters whose WHERE names the room that is left and that the
host is open, so no number of concurrent claims takes more than there is.
"""

from __future__ import annotations

import sqlalchemy as sa

from conductor.db.models import Claim, Host, Instance
from conductor.db.statements import Fact, More, Room, Values
from conductor.turn import Turn

COMPUTE = "compute"
DISK = "disk"
OPEN: Values = {"state": "up", "disabled": False, "forced_down": False, "paused": 0}
"""What a host is that may get new instances."""


def take(
    turn: Turn,
    instance: Instance,
    host: str,
    kinds: tuple[str, ...],
    action_id: str,
    zone: str | None = None,
) -> bool:
    """Claim room on a host for an instance.

    :param kinds: ``compute`` (vCPUs and memory), ``disk``
    :param action_id: the action that needs it
    :param zone: that the host must be in, None for any
    :return: False when the host is not open or has no room, and nothing was taken
    """
    vcpus, memory = (instance.vcpus, instance.memory_mb) if COMPUTE in kinds else (0, 0)
    disk = instance.disk_gb if DISK in kinds else 0
    conf = turn.conf
    facts: list[Fact] = [{"name": host}, OPEN, *([] if zone is None else [{"zone": zone}])]
    if COMPUTE in kinds:
        facts.append(Room("claimed_vcpus", vcpus, "vcpus", conf.cpu_ratio))
        facts.append(Room("claimed_memory_mb", memory, "memory_mb", conf.memory_ratio))
    if DISK in kinds:
        facts.append(Room("claimed_disk_gb", disk, "disk_gb", conf.disk_ratio))
    more = {
        "claimed_vcpus": More(vcpus),
        "claimed_memory_mb": More(memory),
        "claimed_disk_gb": More(disk),
    }
    if not turn.change(Host, *facts, **more):
        return False
    for kind in kinds:
        turn.add(_claim(instance, host, kind, action_id))
    return True


def take_back(turn: Turn, instance: Instance, host: str) -> None:
    """Note the vCPUs and memory that a machine has because it runs there, room left or not."""
    if holds(turn, instance.id, host, COMPUTE):
        return
    turn.add(_claim(instance, host, COMPUTE, instance.last_action))
    turn.change(
        Host,
        {"name": host},
        claimed_vcpus=More(instance.vcpus),
        claimed_memory_mb=More(instance.memory_mb),
    )


def is_open() -> tuple[sa.ColumnElement[bool], ...]:
    """In SQL: the host may get new instances."""
    return tuple(getattr(Host, name) == value for name, value in OPEN.items())


def _claim(instance: Instance, host: str, kind: str, action_id: str | None) -> Claim:
    compute = kind == COMPUTE
    return Claim(
        instance_id=instance.id,
        host=host,
        kind=kind,
        action_id=action_id,
        vcpus=instance.vcpus if compute else 0,
        memory_mb=instance.memory_mb if compute else 0,
        disk_gb=0 if compute else instance.disk_gb,
    )


def held(turn: Turn, instance_id: str) -> list[Claim]:
    """All claims of an instance."""
    return turn.all(sa.select(Claim).where(Claim.instance_id == instance_id).order_by(Claim.host))


def holds(turn: Turn, instance_id: str, host: str, kind: str) -> bool:
    """Whether an instance has that claim on a host."""
    return turn.get(Claim, (instance_id, host, kind)) is not None


def release(turn: Turn, instance_id: str, host: str | None = None, kind: str | None = None) -> None:
    """Give back an instance's claims: all, those on one host, or one kind of them."""
    for claim in held(turn, instance_id):
        if host in (None, claim.host) and kind in (None, claim.kind):
            _give_back(turn, claim)


def _give_back(turn: Turn, claim: Claim) -> None:
    name = claim.host
    facts = (Claim.instance_id == claim.instance_id, Claim.host == name, Claim.kind == claim.kind)
    if turn.drop(Claim, *facts):
        turn.change(
            Host,
            {"name": name},
            claimed_vcpus=More(-claim.vcpus),
            claimed_memory_mb=More(-claim.memory_mb),
            claimed_disk_gb=More(-claim.disk_gb),
        )
