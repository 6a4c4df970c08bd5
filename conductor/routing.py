"""Which host takes a machine: a pure function of the wish and of what is known of the hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

LIVE = "live_migration"
"""The capability of both hosts of a machine that moves while it runs."""


@dataclass(frozen=True)
class Candidate:
    """A host as routing sees it; ``free_*`` are what the ratios leave, vCPUs, MiB and GiB."""

    name: str
    zone: str
    up: bool
    disabled: bool
    paused: bool
    capabilities: frozenset[str]
    free_vcpus: float
    free_memory_mb: float
    free_disk_gb: float


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    :ivar zone, host: None for any
    :ivar disk_host: where the machine's disk lies, None for a new machine; it is preferred, needs
        no further room for the disk, and other hosts must be able to move disks
    :ivar disk_moves: whether that host gives its disks to others
    :ivar barred: hosts that cannot have this machine until they have cleaned up after it
    :ivar leaves: whether any host but the disk's own will do
    :ivar runs: whether it needs its vCPUs and memory there, too
    :ivar live: whether it comes running
    """

    vcpus: int
    memory_mb: int
    disk_gb: int
    zone: str | None = None
    host: str | None = None
    disk_host: str | None = None
    disk_moves: bool = True
    barred: frozenset[str] = frozenset()
    leaves: bool = False
    runs: bool = True
    live: bool = False


@dataclass(frozen=True)
class Route:
    """The answer.

    :ivar hosts: names of those that can, best first
    :ivar reasons: why the others cannot → how many of them
    """

    hosts: list[str]
    reasons: dict[str, int]

    def why(self) -> str:
        """The reasons as one clause for a message: ``2 are down, 1 has not enough memory``."""
        said = [f"{reason} ({count})" for reason, count in sorted(self.reasons.items())]
        return "; ".join(said) or "there are no hosts"


def route(wish: Wish, candidates: Iterable[Candidate]) -> Route:
    """Rank the hosts that can take the machine, and count why the others cannot.

    The disk's own host comes first, then those with the most free memory, so that load spreads.
    """
    able: list[Candidate] = []
    reasons: Counter[str] = Counter()
    for candidate in candidates:
        reason = objection(wish, candidate)
        if reason is None:
            able.append(candidate)
        else:
            reasons[reason] += 1
    able.sort(key=lambda host: (host.name != wish.disk_host, -host.free_memory_mb, host.name))
    return Route([host.name for host in able], dict(reasons))


def objection(wish: Wish, host: Candidate) -> str | None:
    """The first reason why the host cannot; the order is from the widest class to the narrowest."""
    here = host.name == wish.disk_host
    objections = {
        "in another zone": wish.zone is not None and host.zone != wish.zone,
        "another host than the one asked for": wish.host is not None and host.name != wish.host,
        "the host that it leaves": here and wish.leaves,
        "down": not host.up,
        "disabled": host.disabled,
        "paused": host.paused,
        "cleaning up after this machine": host.name in wish.barred,
        "cannot take machines that run": wish.live and LIVE not in host.capabilities,
        "cannot move disks": wish.disk_host is not None
        and not wish.live
        and not here
        and not (wish.disk_moves and "move" in host.capabilities),
        "not enough vCPUs": wish.runs and host.free_vcpus < wish.vcpus,
        "not enough memory": wish.runs and host.free_memory_mb < wish.memory_mb,
        "not enough disk": not here and host.free_disk_gb < wish.disk_gb,
    }
    return next((reason for reason, holds in objections.items() if holds), None)
