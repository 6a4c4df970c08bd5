"""How long a drain is likely to take: pure functions over what its moves have shown so far."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

DEFAULT_RATE = 100 * 2**20
"""Bytes of a disk's size a second, while no move of this cloud is known."""
DEFAULT_REST = {"cold": 6.0, "off": 3.0}
"""Seconds that a move takes beside its copying: to stop, to start, and to be told of both."""
LEAST = 0.1
"""Seconds that a copying is taken to have needed, however short it was."""
SHORTEST = 1.0
"""Seconds that a move which goes on is thought to need still, however late it is."""


@dataclass(frozen=True)
class Copying:
    """A disk that is on its way.

    :ivar share: how much of its bytes has moved, over 0 to 1
    :ivar seconds: since its copying began
    """

    share: float
    seconds: float


@dataclass(frozen=True)
class Load:
    """A machine that is to be moved or is on its way.

    :ivar size: of its disk in bytes; less may lie there, and so it is only compared with others
    :ivar how: ``cold`` or ``off``
    :ivar elapsed: seconds since its first action was accepted; None before that
    :ivar copying: None while nothing is known of its bytes
    """

    id: str
    size: int
    how: str
    target: str | None = None
    elapsed: float | None = None
    copying: Copying | None = None


@dataclass(frozen=True)
class Finished:
    """A move that has ended.

    :ivar copied: seconds of its copying
    :ivar took: seconds in all; None where only its copying is known
    """

    size: int
    how: str
    copied: float
    took: float | None = None


@dataclass(frozen=True)
class Pace:
    """How fast machines move.

    :ivar rate: bytes of their disks' sizes a second
    :ivar rest: by how they move, seconds beside the copying
    """

    rate: float = DEFAULT_RATE
    rest: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_REST))

    @classmethod
    def of(cls, finished: Sequence[Finished], loads: Iterable[Load]) -> Pace:
        """What moves have shown: those that have ended, and by their bytes those under way."""
        begun = [
            (one.size * one.copying.share, one.copying.seconds)
            for one in loads
            if one.copying is not None
        ]
        seen = [(float(one.size), max(one.copied, LEAST)) for one in finished] + begun
        size, seconds = (sum(column) for column in zip((0.0, 0.0), *seen, strict=True))
        rests: dict[str, list[float]] = {}
        for one in finished:
            if one.took is not None:
                rests.setdefault(one.how, []).append(max(one.took - one.copied, 0.0))
        rest = {how: median(values) for how, values in rests.items()}
        return cls(size / seconds if size and seconds else DEFAULT_RATE, DEFAULT_REST | rest)


def remaining(load: Load, pace: Pace) -> float:
    """Seconds until a machine has moved, from the begin of its move if that is yet to come."""
    rest = pace.rest.get(load.how, 0.0)
    whole = rest + load.size / pace.rate
    if load.elapsed is None:
        return whole
    if load.copying is None:
        return max(whole - load.elapsed, SHORTEST)
    before = max(load.elapsed - load.copying.seconds, 0.0)
    copying = load.copying.seconds * (1 - load.copying.share) / load.copying.share
    return copying + max(rest - before, SHORTEST if copying == 0 else 0.0)


def until_all(loads: Sequence[Load], pace: Pace, slots: int, per_target: int | None) -> float:
    """Seconds until all have moved, those first that have begun.

    :param slots: so many move at once
    :param per_target: so many come to one host at once; None for as many as there are slots
    """
    queues: dict[str, deque[tuple[int, float]]] = {}
    for place, load in enumerate(sorted(loads, key=lambda load: load.elapsed is None)):
        target = (load.target or "") if per_target is not None else ""
        queues.setdefault(target, deque()).append((place, remaining(load, pace)))
    free = {target: per_target if target and per_target else slots for target in queues}
    ends: list[tuple[float, str]] = []
    now = last = 0.0
    while queues or ends:
        ready = [target for target in queues if free[target] > 0] if len(ends) < slots else []
        if not ready:
            now, target = heapq.heappop(ends)
            free[target] += 1
            continue
        target = min(ready, key=lambda name: queues[name][0])
        _, seconds = queues[target].popleft()
        free[target] -= 1
        heapq.heappush(ends, (now + seconds, target))
        last = max(last, now + seconds)
        if not queues[target]:
            del queues[target]
    return last
