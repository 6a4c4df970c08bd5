"""What is to become of the machines of a host that is drained. A plan changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from conductor.db.models import Host, Instance
from conductor.migration import wish_of
from conductor.packing import Load, pack
from conductor.placement import barred_of, candidates, capabilities, is_on, is_up
from conductor.turn import Turn
from paddock.actions import VmState

COLD, OFF, LEAVE = "cold", "off", "leave"
PER_TARGET = 2
"""So many come to one host at once."""
STILL = (VmState.STOPPED, VmState.POWERED_OFF)
STRATEGIES = {
    "auto": None,
    "cold": None,
    "live": "it runs, and no host here can move it live",
    "leave": "it runs, and the strategy leaves such machines",
}
"""Each strategy: why a machine that runs stays; None when it is stopped, moved and started."""


@dataclass(frozen=True)
class Planned:
    """What is to become of a machine; ``reason`` says why it has no target."""

    instance: Instance
    how: str
    target: str | None
    reason: str | None


@dataclass(frozen=True)
class Rules:
    """What a drain's administrator asked for."""

    strategy: str
    zone: str | None
    exclude: Collection[str]


def machines_on(turn: Turn, host: str) -> list[Instance]:
    """The machines that are on a host, or whose disk is, by name."""
    query = sa.select(Instance).where(is_on(host), Instance.deleted.is_(False))
    return turn.all(query.order_by(Instance.name, Instance.id))


def plan(turn: Turn, host: Host, instances: Sequence[Instance], rules: Rules) -> list[Planned]:
    """Where each machine of a host goes, or why it stays."""
    stay = {one.id: _host_trouble(host) or why_left(one, rules) for one in instances}
    going = [one for one in instances if stay[one.id] is None]
    bars = barred_of(turn, [one.id for one in going])
    loads = [
        Load(one.id, wish_of(one, rules.zone or one.zone, None, bars[one.id])) for one in going
    ]
    places = {place.id: place for place in pack(loads, candidates(turn) if loads else [])}
    found = []
    for one in instances:
        if place := places.get(one.id):
            found.append(Planned(one, how_of(one), place.host, place.reason))
        else:
            found.append(Planned(one, LEAVE, None, stay[one.id]))
    return found


def _host_trouble(host: Host) -> str | None:
    if not is_up(host):
        return f"host {host.name} is not up"
    return None if "move" in capabilities(host) else f"host {host.name} gives no disks to others"


def why_left(instance: Instance, rules: Rules) -> str | None:
    """Why a drain leaves a machine where it is; None when it does not."""
    if instance.id in rules.exclude:
        return "it is excluded"
    if instance.locked:
        return f"it is locked: {instance.lock_reason or 'no reason was given'}"
    if instance.vm_state == VmState.ACTIVE:
        return STRATEGIES[rules.strategy]
    if instance.vm_state in (VmState.PAUSED, VmState.SUSPENDED):
        return f"it is {instance.vm_state}, and its memory would be lost"
    return "it is in error" if instance.vm_state == VmState.ERROR else None


def how_of(instance: Instance) -> str:
    """How a machine moves."""
    return OFF if instance.vm_state in STILL else COLD


def notes(turn: Turn, host: Host) -> list[str]:
    """What who drains a host should know before."""
    others = [one for one in candidates(turn) if one.zone == host.zone and one.name != host.name]
    if any(one.up and not one.disabled and not one.paused for one in others):
        return []
    return [f"Host {host.name} is the last open host of zone {host.zone}."]
