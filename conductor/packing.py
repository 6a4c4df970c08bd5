"""Which hosts take all machines of one that is drained: a pure function, like routing."""

from __future__ import annotations

import functools
import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from conductor.routing import Candidate, Wish, objection, route

Plan = dict[str, str]
"""Load → host, for the loads that have one."""


@dataclass(frozen=True)
class Load:
    """A machine that needs a place; its id is its own among those that are packed together."""

    id: str
    wish: Wish


@dataclass(frozen=True)
class Place:
    """Where a machine goes: ``host`` is None where none has room, and ``reason`` says why."""

    id: str
    host: str | None
    reason: str | None


def pack(
    loads: Sequence[Load], candidates: Sequence[Candidate], steps: int = 20_000
) -> list[Place]:
    """Find a host for each load, so that as many as possible have one and none is overfilled.

    Simple orders come first: as given, largest first, smallest first, each load to the host that
    it leaves the least memory. If none of them places all, a search tries other hosts, largest
    load first. The first plan that places all is taken, else the first that places most.

    :param steps: how many times the search may look at a host for a load; with too few, a plan
        that places more may be missed
    :return: a place for each load, in their order
    """
    able, hosts = _possible(loads, candidates)
    largest = _largest_first(able, hosts)
    best: Plan = {}
    for order in (able, largest, largest[::-1]):
        plan = _best_fit(order, hosts)
        if len(plan) > len(best):
            best = plan
        if len(best) == len(able):
            break
    else:
        best = _Search(largest, hosts, steps, best).run()
    return _places(loads, candidates, best)


def _possible(
    loads: Sequence[Load], candidates: Sequence[Candidate]
) -> tuple[list[Load], list[Candidate]]:
    """The loads that some host can take, were it the only one, and the hosts that can take some."""
    wishes = {load.wish for load in loads}
    hosts = [host for host in candidates if any(objection(wish, host) is None for wish in wishes)]
    able = [load for load in loads if any(objection(load.wish, host) is None for host in hosts)]
    return able, hosts


def _largest_first(loads: Sequence[Load], hosts: Sequence[Candidate]) -> list[Load]:
    """Sorted by the largest share that they need of the most room that any host has."""
    vcpus = max((host.free_vcpus for host in hosts), default=0)
    memory = max((host.free_memory_mb for host in hosts), default=0)
    disk = max((host.free_disk_gb for host in hosts), default=0)

    def share(load: Load) -> float:
        wish = load.wish
        needs = [(wish.disk_gb, disk)]
        if wish.runs:
            needs += [(wish.vcpus, vcpus), (wish.memory_mb, memory)]
        return max(need / room if room > 0 else 0.0 for need, room in needs)

    return sorted(loads, key=share, reverse=True)


def _best_fit(loads: Sequence[Load], hosts: Sequence[Candidate]) -> Plan:
    rooms, plan = _Rooms(hosts), {}
    for load in loads:
        for host in rooms.tightest(load.wish):
            if objection(load.wish, host) is None:
                rooms.swap(host, left_of(host, load.wish))
                plan[load.id] = host.name
                break
    return plan


def _places(loads: Sequence[Load], candidates: Sequence[Candidate], plan: Plan) -> list[Place]:
    left = {host.name: host for host in candidates}
    for load in loads:
        if load.id in plan:
            left[plan[load.id]] = left_of(left[plan[load.id]], load.wish)

    @functools.cache
    def why(wish: Wish) -> str:
        return route(wish, left.values()).why()

    hosts = [(load, plan.get(load.id)) for load in loads]
    return [Place(load.id, host, None if host else why(load.wish)) for load, host in hosts]


def left_of(host: Candidate, wish: Wish) -> Candidate:
    """The host with the room that is left when it has taken the machine."""
    return replace(
        host,
        free_vcpus=host.free_vcpus - (wish.vcpus if wish.runs else 0),
        free_memory_mb=host.free_memory_mb - (wish.memory_mb if wish.runs else 0),
        free_disk_gb=host.free_disk_gb - (wish.disk_gb if host.name != wish.disk_host else 0),
    )


def _tightness(host: Candidate) -> tuple[float, str]:
    return host.free_memory_mb, host.name


class _Rooms:
    """Hosts with what is left of them, least memory first."""

    def __init__(self, hosts: Sequence[Candidate]) -> None:
        self._hosts = sorted(hosts, key=_tightness)

    def tightest(self, wish: Wish) -> Iterator[Candidate]:
        """The hosts from the one that has the least memory but enough; routing has the last word.

        A swap must be undone before the next is asked for.
        """
        least = wish.memory_mb if wish.runs else -math.inf
        start = bisect_left(self._hosts, (least, ""), key=_tightness)
        for index in range(start, len(self._hosts)):
            yield self._hosts[index]

    def swap(self, old: Candidate, new: Candidate) -> None:
        """Let a host have another room."""
        del self._hosts[bisect_left(self._hosts, _tightness(old), key=_tightness)]
        insort(self._hosts, new, key=_tightness)


class _Search:
    """Tries hosts for one load after the other, and goes back where a plan cannot beat the best.

    :ivar _best: the plan to beat
    :ivar _missing: how many loads the plan that is tried leaves without a host
    :ivar _marks: host → a number for its room, that equal hosts with equal room share
    :ivar _seen: marks with which a load has been tried already, so that equals are tried once
    """

    def __init__(
        self, loads: Sequence[Load], hosts: Sequence[Candidate], steps: int, best: Plan
    ) -> None:
        self._loads = loads
        self._rooms = _Rooms(hosts)
        self._twins = _twins(loads, hosts)
        self._steps = steps
        self._best = best
        self._plan: Plan = {}
        self._missing = 0
        self._numbers: dict[tuple[float, ...], int] = {}
        self._marks = {host.name: self._mark(host) for host in hosts}
        self._seen: set[tuple[object, ...]] = set()

    def run(self) -> Plan:
        """The best plan that the steps suffice to find."""
        levels = [self._options(self._loads[0])]  # not calls: loads may outnumber Python's frames
        while levels:
            if next(levels[-1], None) is None:
                levels.pop()
            elif len(levels) < len(self._loads):
                levels.append(self._options(self._loads[len(levels)]))
            else:
                self._best = dict(self._plan)
        return self._best

    def _options(self, load: Load) -> Iterator[bool]:
        """Give the load to each host that can take it, then to none; asked again, take it back."""
        state = (load.id, self._missing, *sorted(self._marks.values()))
        if state in self._seen:
            return
        self._seen.add(state)
        for host in self._rooms.tightest(load.wish):
            if self._steps <= 0 or not self._beats(self._missing):
                return
            self._steps -= 1
            if objection(load.wish, host) is None:
                yield from self._given(load, host)
        if self._steps > 0 and self._beats(self._missing + 1):
            self._missing += 1
            yield True
            self._missing -= 1

    def _given(self, load: Load, host: Candidate) -> Iterator[bool]:
        left = left_of(host, load.wish)
        self._swap(host, left)
        self._plan[load.id] = host.name
        yield True
        del self._plan[load.id]
        self._swap(left, host)

    def _swap(self, old: Candidate, new: Candidate) -> None:
        self._rooms.swap(old, new)
        self._marks[new.name] = self._mark(new)

    def _mark(self, host: Candidate) -> int:
        twin = self._twins[host.name]
        room = (twin, host.free_vcpus, host.free_memory_mb, host.free_disk_gb)
        return self._numbers.setdefault(room, len(self._numbers))

    def _beats(self, missing: int) -> bool:
        return missing < len(self._loads) - len(self._best)


def _twins(loads: Sequence[Load], hosts: Sequence[Candidate]) -> dict[str, int]:
    """Host → a number that it shares with those that are like it but for name and room.

    A host that a load names is like no other.
    """
    wishes = {load.wish for load in loads}
    named = {name for wish in wishes for name in (wish.host, wish.disk_host, *wish.barred)}
    numbers: dict[Candidate, int] = {}
    twins = {}
    for host in hosts:
        name = host.name if host.name in named else ""
        plain = replace(host, name=name, free_vcpus=0, free_memory_mb=0, free_disk_gb=0)
        twins[host.name] = numbers.setdefault(plain, len(numbers))
    return twins
