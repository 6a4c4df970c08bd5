"""Hosts and conductors as administrators see and change them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from conductor.db.models import AggregateHost, Claim, Conductor, Host, Instance, Pause, Step
from conductor.documents import HostChanges
from conductor.moments import iso
from conductor.pages import page
from conductor.placement import is_dead, is_on
from conductor.plan import UNDONE
from conductor.turn import Moved, Turn
from paddock.actions import PowerState
from paddock.certificates import CERTIFICATES_END
from paddock.clients import read
from paddock.context import RequestContext
from paddock.errors import BadRequest, Conflict, NotFound
from paddock.records import HostRecord, Listing, PauseRecord, Resources

COMPUTE = "paddock-compute"
CONDUCTOR = "paddock-conductor"
INTERNAL_ZONE = "internal"
WORKING = ":"
"""In a pause's holder: it is a piece of work of the cloud's own, not an administrator."""

_NOTHING = Resources(vcpus=0, memory_mb=0, disk_gb=0)


def list_page(turn: Turn, listing: Listing) -> list[HostRecord]:
    """A page of hosts and conductors, by name."""
    return page(_show(turn, None), listing, default=("host", "asc"))


def get(turn: Turn, key: str) -> HostRecord:
    """One of them, by its id or the host's name; a name means the compute host first."""
    found = _show(turn, key)
    if not found:
        raise _not_found(key)
    return min(found, key=lambda record: record.binary != COMPUTE)


def update(turn: Turn, key: str, changes: dict[str, Any]) -> HostRecord:
    """Change ``disabled``, ``disabled_reason`` or ``forced_down``.

    A host that is no longer forced down reconciles first: meanwhile it was given up.
    """
    if unknown := set(changes) - {"disabled", "disabled_reason", "forced_down"}:
        raise BadRequest(f"A host's {min(unknown)} cannot be changed.")
    host = _find(turn, key)
    values: dict[str, Any] = dict(read(changes, HostChanges))
    if values.get("disabled") is False:
        values["disabled_reason"] = None
    if host.forced_down and values.get("forced_down") is False:
        values["reconcile"] = True
        values["state"] = "down" if host.state == "down" else "reconciling"
    if values:
        turn.must(Host, *unchanged(host), **values)
    return get(turn, host.id)


def delete(turn: Turn, key: str) -> None:
    """Forget a host or a conductor that is gone for good.

    :raises Conflict: it is alive, instances are on it, or steps of theirs have yet to end there
    """
    record = get(turn, key)
    if record.state != "down":
        raise Conflict(f"Service {record.id} on host {record.host} is not down.")
    if record.binary == CONDUCTOR:
        turn.drop(Conductor, Conductor.id == record.id)
        return
    host = _find(turn, record.id)
    refuse_instances(turn, host.name, "delete the service of")
    _refuse_work(turn, host.name)
    _refuse_speaking(turn, host)
    if not turn.drop(Host, *unchanged(host)):
        raise Moved
    turn.drop(Claim, Claim.host == host.name)  # of copies that nobody can remove any more
    turn.drop(Pause, Pause.host == host.name)
    turn.drop(AggregateHost, AggregateHost.host == host.name)


def is_known(turn: Turn, name: str) -> bool:
    """Whether a compute host of that name ever said hello."""
    return turn.get(Host, name) is not None


def revoke(turn: Turn, name: str) -> bool:
    """Believe a host's agent no more, and count the host as dead at once.

    That is no fencing: its guests may run on, so what may be launched there stays barred elsewhere
    until an administrator says ``forced_down``.

    :return: False when there is no such host
    """
    known = turn.change(Host, Host.name == name, revoked=True, state="down", reconcile=True)
    if known:
        turn.tell(f"Host {name} is revoked")
    return bool(known)


def admit(turn: Turn, name: str) -> bool:
    """Believe a revoked host's agent again; it is down until that has reconciled.

    :return: False when the host was not revoked
    """
    return bool(turn.change(Host, Host.name == name, Host.revoked.is_(True), revoked=False))


def _refuse_work(turn: Turn, host: str) -> None:
    there = sa.select(Step).where(Step.host == host, Step.status.in_(UNDONE))
    if turn.first(there):
        raise Conflict(f"Cannot delete the service of host {host}: work on it has yet to end.")


def _refuse_speaking(turn: Turn, host: Host) -> None:
    """A host that is forced down counts as down, but its agent may go on."""
    silence = (turn.now - host.last_heartbeat).total_seconds()
    if host.state != "down" and silence < turn.conf.dead_after:
        raise Conflict(f"Cannot delete the service of host {host.name}: its agent runs; stop it.")


def pause(turn: Turn, asks: RequestContext, key: str, reason: str | None) -> HostRecord:
    """Hold a pause in the caller's name; again, it only gets the new reason."""
    host = _find(turn, key)
    holder = str(asks.user_id)
    if not turn.change(Pause, Pause.host == host.name, Pause.holder == holder, reason=reason):
        turn.add(
            Pause(host=host.name, holder=holder, reason=reason, who=asks.user_name, since=turn.now)
        )
        turn.must(Host, Host.name == host.name, paused=Host.paused + 1)
    return get(turn, host.id)


def resume(turn: Turn, key: str) -> HostRecord:
    """Lift all administrators' pauses; a drain's stays until it ends."""
    host = _find(turn, key)
    lifted = turn.drop(Pause, Pause.host == host.name, ~Pause.holder.contains(WORKING))
    if lifted:
        turn.must(Host, Host.name == host.name, paused=Host.paused - lifted)
    return get(turn, host.id)


def _find(turn: Turn, key: str) -> Host:
    host = turn.first(sa.select(Host).where(_is_host(key)))
    if host is None and turn.first(sa.select(Conductor).where(_is_conductor(key))):
        raise BadRequest(f"Service {key} is a conductor; only a compute host can do this.")
    if host is None:
        raise _not_found(key)
    return host


def _show(turn: Turn, key: str | None) -> list[HostRecord]:
    """All, or those of an id or name."""
    hosts = _running(turn, sa.true() if key is None else _is_host(key))
    chosen = sa.true() if key is None else _is_conductor(key)
    pauses = turn.all(sa.select(Pause).order_by(Pause.since, Pause.holder))
    return [
        *(_show_host(turn, host, running, pauses) for host, running in hosts),
        *(_show_conductor(turn, one) for one in turn.all(sa.select(Conductor).where(chosen))),
    ]


def refuse_instances(turn: Turn, host: str, what: str) -> None:
    """Raise Conflict when the host has an instance or an instance's disk."""
    if turn.first(sa.select(Instance).where(is_on(host), Instance.deleted.is_(False))):
        raise Conflict(f"Cannot {what} host {host}: it has instances.")


def unchanged(host: Host) -> list[sa.ColumnElement[bool]]:
    """Facts of a host that were read; an instance that comes there meanwhile changes them."""
    return [
        Host.name == host.name,
        Host.zone == host.zone,
        Host.state == host.state,
        Host.forced_down == host.forced_down,
        Host.claimed_vcpus == host.claimed_vcpus,
        Host.claimed_memory_mb == host.claimed_memory_mb,
        Host.claimed_disk_gb == host.claimed_disk_gb,
    ]


def _running(turn: Turn, chosen: sa.ColumnElement[bool]) -> list[tuple[Host, int]]:
    """Hosts with the number of guests that their hypervisors run."""
    there = (PowerState.RUNNING, PowerState.PAUSED)
    counts = (
        sa.select(Instance.host, sa.func.count().label("guests"))
        .where(Instance.deleted.is_(False), Instance.power_state.in_(there))
        .where(Instance.host.in_(sa.select(Host.name).where(chosen)))
        .group_by(Instance.host)
        .subquery()
    )
    number = sa.func.coalesce(counts.c.guests, 0)
    query = sa.select(Host, number).outerjoin(counts, counts.c.host == Host.name).where(chosen)
    fresh = query.execution_options(populate_existing=True)
    return list(turn.session.execute(fresh).tuples())


def _show_host(turn: Turn, host: Host, running: int, pauses: Sequence[Pause]) -> HostRecord:
    facts = host.facts
    return HostRecord(
        id=host.id,
        host=host.name,
        binary=COMPUTE,
        zone=host.zone,
        state="down" if is_dead(host) else host.state,
        disabled=host.disabled,
        disabled_reason=host.disabled_reason,
        forced_down=host.forced_down,
        revoked=host.revoked,
        pauses=[_show_pause(pause) for pause in pauses if pause.host == host.name],
        last_heartbeat=iso(host.last_heartbeat),
        age=(turn.now - host.last_heartbeat).total_seconds(),
        version=str(facts.get("version", "")),
        capabilities=sorted(facts.get("capabilities", [])),
        total=Resources(vcpus=host.vcpus, memory_mb=host.memory_mb, disk_gb=host.disk_gb),
        claimed=Resources(
            vcpus=host.claimed_vcpus,
            memory_mb=host.claimed_memory_mb,
            disk_gb=host.claimed_disk_gb,
        ),
        running=running,
        hypervisor_type=str(facts.get("hypervisor_type", "")),
        hypervisor_version=int(facts.get("hypervisor_version", 0)),
        uptime=int(facts.get("uptime", 0)),
        address=str(facts.get("address", "")),
        extra=facts.get("extra", {}),
        rpc_version=host.rpc_version,
    )


def _show_conductor(turn: Turn, one: Conductor) -> HostRecord:
    age = (turn.now - one.last_heartbeat).total_seconds()
    return HostRecord(
        id=one.id,
        host=one.host,
        binary=CONDUCTOR,
        zone=INTERNAL_ZONE,
        state="up" if age < turn.conf.dead_after else "down",
        disabled=False,
        disabled_reason=None,
        forced_down=False,
        pauses=[],
        last_heartbeat=iso(one.last_heartbeat),
        age=age,
        version=one.version,
        capabilities=[],
        total=_NOTHING,
        claimed=_NOTHING,
        running=0,
        hypervisor_type="",
        hypervisor_version=0,
        uptime=int((turn.now - one.started_at).total_seconds()),
        address="",
        extra={CERTIFICATES_END: iso(one.certificates_end)} if one.certificates_end else {},
        rpc_version=one.rpc_version,
    )


def _show_pause(pause: Pause) -> PauseRecord:
    return PauseRecord(
        holder=pause.holder, reason=pause.reason, who=pause.who, since=iso(pause.since)
    )


def _is_host(key: str) -> sa.ColumnElement[bool]:
    return sa.or_(Host.id == key, Host.name == key)


def _is_conductor(key: str) -> sa.ColumnElement[bool]:
    return sa.or_(Conductor.id == key, Conductor.host == key)


def _not_found(key: str) -> NotFound:
    return NotFound(f"Service {key} could not be found.")
