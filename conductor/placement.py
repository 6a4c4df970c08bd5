"""Finds a host for a machine and claims its room there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from conductor import claims
from conductor.db.models import Aggregate, Host, Instance, Leftover, Step
from conductor.plan import LIVE
from conductor.routing import Candidate, Route, Wish, route
from conductor.turn import FRESH, Moved, Turn
from paddock.actions import CLEANING
from paddock.errors import HostUnavailable, ServiceUnavailable

FEW = 16


def candidates(turn: Turn) -> list[Candidate]:
    """All hosts as routing sees them."""
    return [_candidate(turn, host) for host in turn.all(sa.select(Host).order_by(Host.name))]


def roomiest(turn: Turn, wish: Wish) -> list[Candidate]:
    """The open hosts with the most free memory where a wish may be fulfilled: a few, however many
    there are. Routing has the last word, and :func:`candidates` those that are not among them.
    """
    names = {"zone": wish.zone, "host": wish.host}
    asked = {name: value for name, value in names.items() if value is not None}
    values = {**asked, "ratio": turn.conf.memory_ratio}
    query = _roomiest(tuple(asked))
    rows = turn.session.execute(query, values, execution_options=FRESH).tuples()
    return [_candidate(turn, host) for (host,) in rows]


@functools.cache
def _roomiest(asked: tuple[str, ...]) -> sa.Select[tuple[Host]]:
    """Made once: it takes longer to make than to run."""
    columns: dict[str, Any] = {"zone": Host.zone, "host": Host.name}
    free = Host.memory_mb * bindparam("ratio", type_=sa.Float) - Host.claimed_memory_mb
    wanted = [columns[name] == bindparam(name, type_=sa.String) for name in asked]
    query = select(Host).where(*claims.is_open(), *wanted)
    return query.order_by(free.desc(), Host.name).limit(FEW)


def _candidate(turn: Turn, host: Host) -> Candidate:
    conf = turn.conf
    return Candidate(
        name=host.name,
        zone=host.zone,
        up=is_up(host),
        disabled=host.disabled,
        paused=host.paused > 0,
        capabilities=capabilities(host),
        free_vcpus=host.vcpus * conf.cpu_ratio - host.claimed_vcpus,
        free_memory_mb=host.memory_mb * conf.memory_ratio - host.claimed_memory_mb,
        free_disk_gb=host.disk_gb * conf.disk_ratio - host.claimed_disk_gb,
    )


def objection(turn: Turn, instance: Instance, host: str) -> str:
    """Why the host that has an instance's disk has no room for it to run.

    :raises Moved: it has by now
    """
    row = turn.get(Host, host)
    if row is None:
        return "it is no longer there"
    wish = Wish(instance.vcpus, instance.memory_mb, instance.disk_gb, disk_host=host)
    for reason in route(wish, [_candidate(turn, row)]).reasons:
        return reason
    raise Moved


def is_on(host: str) -> sa.ColumnElement[bool]:
    """In SQL: an instance is on a host, or its disk is."""
    return sa.or_(Instance.host == host, Instance.disk_host == host)


def is_up(host: Host) -> bool:
    """Whether the host can be given work."""
    return host.state == "up" and not host.forced_down


def require_up(host: Host, instance_id: str) -> None:
    """Check that a machine's host can be given work.

    :raises ServiceUnavailable: not yet: it is back, and looks at what it has
    :raises HostUnavailable: it is down or fenced
    """
    if host.state == "reconciling" and not host.forced_down:
        raise ServiceUnavailable(
            f"Host {host.name} of instance {instance_id} is coming back; try again in some seconds."
        )
    if not is_up(host):
        raise HostUnavailable(f"Host {host.name} of instance {instance_id} is not up.")


def is_dead(host: Host | None) -> bool:
    """Whether nothing can be expected of the host: a verdict says so, or an administrator."""
    return host is None or host.state == "down" or host.forced_down


def dead() -> sa.ColumnElement[bool]:
    """In SQL: :func:`is_dead` of a host that is there."""
    return sa.or_(Host.state == "down", Host.forced_down.is_(True))


def capabilities(host: Host) -> frozenset[str]:
    """Names of what the host's driver can do."""
    return frozenset(host.facts.get("capabilities", ()))


def zone_exists(turn: Turn, zone: str) -> bool:
    """Whether some host or aggregate has this availability zone."""
    return (
        turn.first(sa.select(Host).where(Host.zone == zone)) is not None
        or turn.first(sa.select(Aggregate).where(Aggregate.zone == zone)) is not None
    )


def barred(turn: Turn, instance_id: str) -> frozenset[str]:
    """Hosts that have yet to clean up after an instance, so cannot receive it."""
    return barred_of(turn, [instance_id])[instance_id]


def barred_of(turn: Turn, instance_ids: Collection[str]) -> dict[str, frozenset[str]]:
    """As :func:`barred`, for each of some instances."""
    left = turn.all(sa.select(Leftover).where(Leftover.instance_id.in_(instance_ids)))
    cleaning = turn.all(
        sa.select(Step).where(
            Step.instance_id.in_(instance_ids), Step.kind.in_(CLEANING), Step.status.in_(LIVE)
        )
    )
    found: dict[str, set[str]] = {instance_id: set() for instance_id in instance_ids}
    for instance_id, host in [(row.instance_id, row.host) for row in left] + [
        (step.instance_id, step.host) for step in cleaning
    ]:
        found[instance_id].add(host)
    return {instance_id: frozenset(hosts) for instance_id, hosts in found.items()}


def claim_first(
    turn: Turn,
    instance: Instance,
    wish: Wish,
    action_id: str,
    refuse: Callable[[Route], Exception],
    known: Sequence[Candidate] | None = None,
) -> str:
    """Claim room for an instance on the best host that has it.

    :param refuse: makes the error that is raised when no host can
    :param known: the hosts, where they were read already
    :return: the host's name
    :raises Moved: others took the room meanwhile
    """
    hosts = candidates(turn) if known is None else known
    found, zones = route(wish, hosts), {host.name: host.zone for host in hosts}
    for host in found.hosts:
        if claims.take(turn, instance, host, _kinds(wish, host), action_id, zones[host]):
            return host
    if found.hosts:
        raise Moved
    raise refuse(found)


def _kinds(wish: Wish, host: str) -> tuple[str, ...]:
    compute = (claims.COMPUTE,) if wish.runs else ()
    return compute if host == wish.disk_host else (*compute, claims.DISK)
