"""hello and heartbeats: who speaks for a host, what it is, and what its answer heals."""

from __future__ import annotations

import datetime
import functools
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam, select

from conductor import inventory, zones
from conductor.agents import refuse_revoked
from conductor.db.models import Cloud, Host, Step
from conductor.plan import LIVE
from conductor.turn import Turn
from paddock.clients import CONTRACT
from paddock.errors import Conflict, ServiceUnavailable, StaleEpoch
from paddock.inventory import ORDER, question_id
from paddock.records import Heartbeat, HeartbeatAnswer, Hello, HelloAnswer, HostFacts, LiveStep
from paddock.versions import is_foreign

RECONCILE = "reconcile"
LISTEN = "listen"
DEAF_AFTER_MISSES = 2
UPTIME_DRIFT_SECONDS = 60
STEP = {
    "step_id": Step.id,
    "action_id": Step.action_id,
    "instance_id": Step.instance_id,
    "kind": Step.kind,
    "attempt": Step.attempt,
    "status": Step.status,
    "epoch": Step.epoch,
}


def hello(turn: Turn, told: Hello) -> HelloAnswer:
    """A new agent process takes over from the one that it names; repeating it is harmless.

    A process that cannot name its predecessor takes over once that one is judged dead, or was
    silent for so long though it is not judged, because others are: its lease has lapsed, so it
    launches nothing. The host is up when it has reconciled.

    :raises StaleEpoch: another process speaks for the host, or the name is another machine's
    :raises Conflict: the host is in another zone
    :raises Forbidden: the host is revoked
    """
    host = turn.get(Host, told.host)
    refuse_revoked(host)
    if host is None:
        turn.add(_new_host(turn, told))
    else:
        _check_bound(host, told)
        if host.epoch != told.epoch:
            _take_over(turn, host, told)
    return HelloAnswer(cloud_id=_cloud_id(turn), orders=[RECONCILE])


def is_stranger(told: Hello) -> bool:
    """Whether an agent is of another major RPC version."""
    return is_foreign(told.facts.rpc_version, CONTRACT.version)


def refuse_stranger(turn: Turn, told: Hello) -> Conflict:
    """Why such an agent may not speak; the list of services shows its version from now on."""
    theirs = told.facts.rpc_version
    host = turn.get(Host, told.host)
    refuse_revoked(host)
    if host is not None and host.machine_id == told.machine_id:
        facts = host.facts | {"rpc_version": theirs, "version": told.facts.version}
        turn.change(Host, Host.name == told.host, facts=facts)
    return Conflict(
        f"The agent of host {told.host} has RPC version {theirs}, the conductors "
        f"{CONTRACT.version}: install on that host a release of the conductors' major version."
    )


def _check_bound(host: Host, told: Hello) -> None:
    """Machine and zone are what the first hello named: a stolen host cannot go where it pleases."""
    if host.machine_id != told.machine_id:
        raise StaleEpoch(f"The host name {told.host} is bound to another machine.")
    if host.own_zone != (told.zone or None):
        raise Conflict(
            f"Host {told.host} is in zone {host.own_zone or host.zone}, and its agent now says "
            f"{told.zone!r}: let it say what it said and put the host into an aggregate of the "
            "other zone, or delete its service first."
        )


def _take_over(turn: Turn, host: Host, told: Hello) -> None:
    if told.replaces != host.epoch and not _is_over(turn, host):
        raise StaleEpoch(f"Another process speaks for host {told.host}.")
    turn.must(
        Host,
        Host.name == told.host,
        Host.epoch == host.epoch,
        Host.state == host.state,
        Host.revoked.is_(False),
        epoch=told.epoch,
        **_state(turn, told),
    )
    turn.change(Host, Host.name == told.host, zone=_zone(turn, told))


def _is_over(turn: Turn, host: Host) -> bool:
    """Whether the process that spoke for the host launches nothing any more."""
    silence = (turn.now - host.last_heartbeat).total_seconds()
    return host.state == "down" or silence > turn.conf.dead_after


def _new_host(turn: Turn, told: Hello) -> Host:
    return Host(
        name=told.host,
        id=turn.new_id(),
        machine_id=told.machine_id,
        epoch=told.epoch,
        created_at=turn.now,
        zone=_zone(turn, told),
        **_state(turn, told),
    )


def _zone(turn: Turn, told: Hello) -> str:
    return zones.of_host(turn, told.host, told.zone)[0]


def _state(turn: Turn, told: Hello) -> dict[str, Any]:
    return {
        "own_zone": told.zone or None,
        "state": "reconciling",
        "reconcile": True,
        "last_heartbeat": turn.now,
        "booted_at": _booted_at(turn, told),
        **_figures(told.facts),
    }


def _booted_at(turn: Turn, told: Hello) -> datetime.datetime | None:
    if told.booted is None:
        return None
    return turn.now - datetime.timedelta(seconds=told.booted)


def _figures(facts: HostFacts) -> dict[str, Any]:
    resources = facts.resources
    return {
        "facts": msgspec.to_builtins(facts),
        "vcpus": resources.vcpus,
        "memory_mb": resources.memory_mb,
        "disk_gb": resources.disk_gb,
    }


def _cloud_id(turn: Turn) -> str:
    cloud = turn.first(sa.select(Cloud))
    if cloud is None:
        cloud = Cloud(one=1, id=turn.new_id())
        turn.add(cloud)
    return cloud.id


def heartbeat(turn: Turn, beat: Heartbeat) -> HeartbeatAnswer:
    """Note that a host lives, and tell it of its live steps: one query and one update.

    :raises StaleEpoch: the caller is not the host's newest agent
    :raises Forbidden: the host is revoked
    :raises ServiceUnavailable: others change the host's row again and again
    """
    for _ in range(3):
        host, steps, asked = _read(turn, beat)
        if _note(turn, host, beat):
            return HeartbeatAnswer(steps=steps, orders=_orders(host, beat, steps, asked))
    raise ServiceUnavailable(f"Too many others change host {beat.host}; try again.")


class Heard(NamedTuple):
    """As much of a host's row as a heartbeat needs: that is read more often than any other."""

    name: str
    epoch: str | None
    state: str
    revoked: bool
    reconcile: bool
    nonce_misses: int
    facts: dict[str, Any]


def _read(turn: Turn, beat: Heartbeat) -> tuple[Heard, list[LiveStep], bool]:
    """The host, its live steps, and whether it is asked for an inventory."""
    asked = {"host": beat.host, "question": question_id(beat.host)}
    rows = turn.session.execute(_host_and_steps(), asked).tuples().all()
    width = len(Heard._fields)
    host = Heard(*rows[0][:width]) if rows else None
    refuse_revoked(host)
    if host is None or host.epoch != beat.epoch:
        raise StaleEpoch(f"Another process speaks for host {beat.host}.")
    steps = [dict(zip(STEP, row[width:-1], strict=True)) for row in rows]
    live = [LiveStep(**step) for step in steps if step["step_id"] is not None]
    return host, live, rows[0][-1]


@functools.cache
def _host_and_steps() -> sa.Select[Any]:
    live = sa.and_(Step.host == Host.name, Step.status.in_(LIVE))
    asked = inventory.is_asked(bindparam("question", type_=sa.String))
    return (
        select(*(getattr(Host, name) for name in Heard._fields), *STEP.values(), asked)
        .select_from(Host)
        .outerjoin(Step, live)
        .where(Host.name == bindparam("host", type_=sa.String))
        .order_by(Step.id)
    )


def _note(turn: Turn, host: Heard, beat: Heartbeat) -> bool:
    """A host that was judged dead has to reconcile before it is up again."""
    changes: dict[str, Any] = {"last_heartbeat": turn.now}
    if host.state == "down":
        changes |= {"state": "reconciling", "reconcile": True}
    if _has_changed(host.facts, beat.facts):
        changes |= _figures(beat.facts)
    facts = {"name": host.name, "epoch": beat.epoch, "state": host.state, "revoked": False}
    return turn.change(Host, facts, **changes) == 1


def _has_changed(stored: dict[str, Any], told: HostFacts) -> bool:
    """The uptime, which always grows, is stored once a minute only."""
    drift = abs(told.uptime - stored.get("uptime", 0))
    fresh = msgspec.to_builtins(told) | {"uptime": stored.get("uptime")}
    return drift > UPTIME_DRIFT_SECONDS or bool(fresh != stored)


def _orders(host: Heard, beat: Heartbeat, steps: list[LiveStep], asked: bool) -> list[str]:
    """An open host reconciles only when no worker of an ended step is still at it."""
    orders = []
    ended = {held.step_id for held in beat.held} - {step.step_id for step in steps}
    if host.state != "up" or (host.reconcile and not ended):
        orders.append(RECONCILE)
    if host.nonce_misses >= DEAF_AFTER_MISSES:
        orders.append(LISTEN)
    if asked:
        orders.append(ORDER)
    return orders
