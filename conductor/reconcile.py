"""Reconcile: what a host has, compared with the ledger.

Nothing is touched of an instance with a live action, or at which a worker still is. What is left
of interrupted moves is decided by one table, ``conductor/keeper.py``.
"""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa

from conductor import addresses, boots, claims, leftovers, live, observations
from conductor.agents import has_had, speaking
from conductor.db.models import Host, Instance, Leftover, Step
from conductor.keeper import LAUNCH, at_target, keeper
from conductor.placement import is_on
from conductor.plan import LIVE
from conductor.turn import Turn
from paddock.actions import ALIVE, OBSERVATIONS, PowerState, Seen, VmState
from paddock.records import Found, Observation, Verdict

"""Leftovers that are settled only by who keeps the machine."""


def reconcile(turn: Turn, name: str, epoch: str, found: list[Found]) -> list[Verdict]:
    """Judge everything that an agent found, and note what it did not find.

    This consumes the order to reconcile: what comes up from now on orders it anew.

    :raises StaleEpoch: the caller is not the host's newest agent
    """
    host = speaking(turn, name, epoch)
    turn.change(Host, Host.name == name, Host.epoch == epoch, reconcile=False)
    known = {one.instance_id: one.action_id for one in found}
    worked_on = {one.instance_id for one in found if one.worked_on}
    things = {one.instance_id: one for one in found if _is_there(one)}
    odd = {row.instance_id for row in leftovers.on_host(turn, name)}
    here = {instance.id: instance for instance in _expected(turn, name)}
    interrupted = boots.interrupted(turn, host, here.values())
    verdicts = []
    for key in sorted(odd | set(things) | set(here)):
        thing = things.get(key)
        if key in worked_on:
            verdicts.append(_say(thing, "keep", 0, "its worker is still at it"))
        elif key not in odd and _is_in_place(here.get(key), thing):
            verdicts.append(_say(thing, "keep", 0, "it is in its place"))
        else:
            judge = functools.partial(_judge, turn, host, key, thing, known.get(key))
            verdicts.append(turn.attempt(judge))
    boots.start_again(turn, name, interrupted)
    return [verdict for verdict in verdicts if verdict is not None]


def _is_there(thing: Found) -> bool:
    return thing.generation is not None or bool(thing.disks) or thing.seen != Seen.GONE


def _expected(turn: Turn, host: str) -> list[Instance]:
    return turn.all(sa.select(Instance).where(is_on(host), Instance.deleted.is_(False)))


def _is_in_place(instance: Instance | None, thing: Found | None) -> bool:
    """Whether ledger and host agree, as they mostly do; this needs no further query."""
    if instance is None or thing is None:
        return False
    if min(_generations(thing), default=0) < instance.disk_generation:
        return False
    if _is_spent(instance, thing):
        return False
    state = (instance.vm_state, instance.power_state)
    return OBSERVATIONS.get((VmState(instance.vm_state), thing.seen)) in (None, state)


def _is_spent(instance: Instance, thing: Found) -> bool:
    """Whether a guest that is off was left by a launch that failed: the machine has its disk only,
    and no guest, since it was powered off."""
    return instance.vm_state == VmState.POWERED_OFF and thing.seen in (Seen.OFF, Seen.CRASHED)


def _judge(
    turn: Turn, host: Host, instance_id: str, thing: Found | None, known: str | None
) -> Verdict | None:
    instance = turn.get(Instance, instance_id)
    if instance is None or instance.deleted:
        return _judge_dead(turn, host, instance_id, instance, thing)
    if thing and not _is_home(instance, host):
        _can_be_here(turn, host, instance_id)
    if instance.busy or _is_cleaning(turn, instance, host):
        return _say(thing, "keep", 0, "an action is going on")
    if not _settle_arrival(turn, instance, host, thing):
        return _say(thing, "keep", 0, "it may just have come")
    _settle_guest(turn, instance, host, thing)
    instance = turn.get(Instance, instance_id)
    assert instance is not None
    return _judge_idle(turn, host, instance, thing, known)


def _is_home(instance: Instance, host: Host) -> bool:
    return host.name in (instance.host, instance.disk_host)


def _can_be_here(turn: Turn, host: Host, instance_id: str) -> bool:
    """Whether an instance may ever have come to a host; if not, a host that says so is noted."""
    known = has_had(turn, host.name, instance_id)
    if not known:
        turn.refuse(f"Instance {instance_id} never was on host {host.name}.")
    return known


def _say(thing: Found | None, verdict: str, below: int, reason: str) -> Verdict | None:
    if thing is None:
        return None
    return Verdict(instance_id=thing.instance_id, verdict=verdict, below=below, reason=reason)


def _judge_dead(
    turn: Turn, host: Host, instance_id: str, instance: Instance | None, thing: Found | None
) -> Verdict | None:
    if thing is None:
        _settle(turn, host, instance_id)
        return None
    if instance is None:
        return _say(thing, "unknown", 0, "nobody knows it")
    below = max([instance.generation, *_generations(thing)]) + 1
    return _say(thing, "remove", below, "it was deleted")


def _judge_idle(
    turn: Turn, host: Host, instance: Instance, thing: Found | None, known: str | None
) -> Verdict | None:
    if thing is None:
        _settle(turn, host, instance.id)
        _observe(turn, host, instance, Seen.GONE, known)
        return None
    if not _is_home(instance, host):
        if thing.seen in ALIVE and not _was_handed_over(turn, host, instance, thing):
            _bar(turn, host, instance)
        below = max([instance.generation, *_generations(thing)]) + 1
        return _say(thing, "remove", below, "it is elsewhere")
    if min(_generations(thing), default=instance.disk_generation) < instance.disk_generation:
        leftovers.order_reconcile(turn, host.name)  # what stays is judged when the old one is gone
        return _say(thing, "remove", instance.disk_generation, "a newer one is here")
    _observe(turn, host, instance, thing.seen, known)
    _settle(turn, host, instance.id)
    if _is_spent(instance, thing) and not leftovers.of_instance(turn, instance.id, leftovers.GUEST):
        return _say(thing, "release", 0, "it is powered off")
    return _say(thing, "keep", 0, "it is in its place")


def _was_handed_over(turn: Turn, host: Host, instance: Instance, thing: Found) -> bool:
    """Whether what stands still here is what a live move left; its host is to remove it."""
    left = leftovers.of_instance(turn, instance.id, leftovers.DISK)
    return thing.seen is Seen.PAUSED and host.name in {row.host for row in left}


def _bar(turn: Turn, host: Host, instance: Instance) -> None:
    """A machine is launched nowhere while a guest of it runs where it does not belong.

    Only a host that may have one is believed: any other would keep machines off that are not its.
    """
    if not _can_be_here(turn, host, instance.id):
        return
    turn.must(
        Instance, Instance.id == instance.id, Instance.busy.is_(None),
        Instance.host == instance.host, updated_at=turn.now,
    )  # fmt: skip
    leftovers.leave(turn, host.name, leftovers.GUEST, instance.id, instance.generation)


def _observe(turn: Turn, host: Host, instance: Instance, seen: Seen, known: str | None) -> None:
    """What an idle instance became, unless an action has begun since the host was looked at.

    :param known: the last action that the agent knew then
    """
    told = Observation(
        instance_id=instance.id, generation=instance.generation, seen=seen, action_id=known
    )
    observations.observe(turn, host.name, told)


def _generations(thing: Found) -> list[int]:
    own = [] if thing.generation is None else [thing.generation]
    return own + thing.disks


def _is_cleaning(turn: Turn, instance: Instance, host: Host) -> bool:
    query = sa.select(Step).where(
        Step.instance_id == instance.id, Step.host == host.name, Step.status.in_(LIVE)
    )
    return turn.first(query) is not None


# --- what became of a launch or an arrival that nobody saw end


def _settle_arrival(turn: Turn, instance: Instance, host: Host, thing: Found | None) -> bool:
    """Decide where a machine is that was on its way here; False when it is too early to tell."""
    rows = leftovers.of_instance(turn, instance.id, leftovers.ARRIVAL)
    row = next((row for row in rows if row.host == host.name), None)
    if row is None:
        return True
    if observations.is_recent(turn, row.created_at):
        return False
    changes = live.settle(turn, row, instance, host, thing)
    turn.must(
        Instance, Instance.id == instance.id, Instance.busy.is_(None),
        Instance.generation == instance.generation, updated_at=turn.now, **changes,
    )  # fmt: skip
    return True


def _settle_guest(turn: Turn, instance: Instance, host: Host, thing: Found | None) -> None:
    rows = leftovers.of_instance(turn, instance.id, leftovers.GUEST)
    row = next((row for row in rows if row.host == host.name), None)
    if row is None or observations.is_recent(turn, row.created_at):
        return
    if host.name not in (instance.host, instance.disk_host):
        if thing is None or thing.seen not in ALIVE:
            leftovers.settle(turn, row)
        return
    leftovers.settle(turn, row)
    if instance.disk_host == host.name:
        changes = _stayed(turn, instance, host, thing)
    else:
        changes = _moved(turn, instance, host, thing)
    if changes:
        turn.must(
            Instance, Instance.id == instance.id, Instance.busy.is_(None),
            Instance.generation == instance.generation, updated_at=turn.now, **changes,
        )  # fmt: skip


def _stayed(turn: Turn, instance: Instance, host: Host, thing: Found | None) -> dict[str, Any]:
    """A launch on the disk's own host: it runs, or the room that it had is free."""
    if instance.vm_state == VmState.POWERED_OFF:
        return _woken(turn, instance, host, thing)
    if instance.vm_state == VmState.ERROR and thing is None:
        claims.release(turn, instance.id)
        return {"host": None, "disk_host": None}
    return {}


def _woken(turn: Turn, instance: Instance, host: Host, thing: Found | None) -> dict[str, Any]:
    """A machine that was off is what the host shows, or still off and without room."""
    shown = OBSERVATIONS.get((VmState.STOPPED, thing.seen)) if thing else None
    if shown is None:
        claims.release(turn, instance.id, host.name, claims.COMPUTE)
        return {"power_state": PowerState.POWER_OFF.value}
    claims.take_back(turn, instance, host.name)
    return {"vm_state": shown[0].value, "power_state": shown[1].value}


def _moved(turn: Turn, instance: Instance, host: Host, thing: Found | None) -> dict[str, Any]:
    source = turn.get(Host, str(instance.disk_host))
    kept_by = keeper(LAUNCH, "disk" if source else "gone", at_target(instance.generation, thing))
    if kept_by == "target":
        if source:
            leftovers.leave(turn, source.name, leftovers.DISK, instance.id, instance.generation)
        own = {
            "disk_host": host.name,
            "disk_generation": instance.generation,
            "zone": host.zone,
        }
        if instance.vm_state != VmState.POWERED_OFF:
            return own
        return own | _woken(turn, instance, host, thing)
    claims.release(turn, instance.id, host.name)
    if kept_by == "nobody":
        return {"host": None, "disk_host": None, "vm_state": VmState.ERROR.value}
    return off_at_home(instance)


def off_at_home(instance: Instance) -> dict[str, Any]:
    """Changes to a machine that stays off where its disk lies; one in error stays so."""
    if instance.vm_state == VmState.ERROR:
        return {"host": instance.disk_host}
    off = {"vm_state": VmState.POWERED_OFF.value, "power_state": PowerState.POWER_OFF.value}
    return {"host": instance.disk_host} | off


# --- afterwards


def reconciled(turn: Turn, name: str, epoch: str, removed: list[Verdict]) -> None:
    """The verdicts were carried out: their leftovers are settled and the host is up.

    :raises StaleEpoch: the caller is not the host's newest agent
    """
    host = speaking(turn, name, epoch)
    told = [verdict for verdict in removed if verdict.verdict == "remove"]
    gone = [verdict for verdict in told if _given(turn, host, verdict)]
    for verdict in sorted(gone, key=lambda verdict: verdict.instance_id):
        turn.attempt(lambda v=verdict: _settle(turn, host, v.instance_id, v.below))  # type: ignore[misc]
    facts = (Host.name == name, Host.epoch == epoch, Host.state == "reconciling")
    turn.change(Host, *facts, state="up")
    if not any(row.kind == leftovers.INSTANCE for row in leftovers.on_host(turn, name)):
        addresses.end_quarantine(turn, name)


def _given(turn: Turn, host: Host, verdict: Verdict) -> bool:
    """Whether a host may have been told to remove that: never the disk that a machine has."""
    instance = turn.get(Instance, verdict.instance_id)
    if instance is None or instance.deleted:
        return True
    if not _is_home(instance, host):
        return _can_be_here(turn, host, instance.id)
    if verdict.below > instance.disk_generation:
        turn.refuse(f"Host {host.name} was not told to remove instance {instance.id}.")
        return False
    return True


def _settle(turn: Turn, host: Host, instance_id: str, below: int | None = None) -> None:
    """Strike out what is left of an instance on a host, and the claims that it had there.

    :param below: what was removed; None when nothing is there
    """
    instance = turn.get(Instance, instance_id)
    if instance is not None and instance.busy:
        return
    left = _left_of(turn, host, instance_id)
    home = instance is not None and _is_home(instance, host)
    held = [] if home else [c for c in claims.held(turn, instance_id) if c.host == host.name]
    if instance is not None and (left or held):
        idle = (Instance.id == instance.id, Instance.busy.is_(None))
        turn.must(Instance, *idle, Instance.host == instance.host, updated_at=turn.now)
    for row in left:
        if row.kind not in leftovers.UNDECIDED and (below is None or row.generation <= below):
            leftovers.settle(turn, row)
    if held:
        claims.release(turn, instance_id, host.name)


def _left_of(turn: Turn, host: Host, instance_id: str) -> list[Leftover]:
    query = sa.select(Leftover).where(
        Leftover.host == host.name, Leftover.instance_id == instance_id
    )
    return turn.all(query)
