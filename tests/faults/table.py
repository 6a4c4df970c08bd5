"""All faults, and which of them happen in a round."""

from __future__ import annotations

import inspect
import random
from types import ModuleType

from tests.faults import brokers, clocks, machines, networks, points, processes, storage
from tests.faults.cloud import FaultCloud
from tests.faults.fault import Fault

GROUPS: tuple[ModuleType, ...] = (
    processes,
    points,
    machines,
    networks,
    brokers,
    storage,
    clocks,
)
MOST_AT_ONCE = 3


def faults(driver: str) -> list[type[Fault]]:
    """Every kind of fault that can be made with a driver, in one order."""
    found = [
        kind
        for group in GROUPS
        for _, kind in inspect.getmembers(group, inspect.isclass)
        if issubclass(kind, Fault) and kind.__module__ == group.__name__
        and not inspect.isabstract(kind) and kind.__name__[0] != "_"
    ]  # fmt: skip
    return [kind for kind in found if driver in kind.drivers]


class Deck:
    """Deals faults: each kind once before any comes again, in an order that the seed decides.

    :param only: names of the kinds to deal, all when empty
    """

    def __init__(self, cloud: FaultCloud, seed: int, only: frozenset[str] = frozenset()) -> None:
        self._cloud = cloud
        self._chance = random.Random(seed)
        self._kinds = [kind for kind in faults(cloud.driver) if not only or kind.__name__ in only]
        self._left: list[type[Fault]] = []

    def deal(self) -> list[Fault]:
        """The faults of the next round: one, or up to three of different parts."""
        count = self._chance.choice([1, 1, 1, 2, 2, MOST_AT_ONCE])
        dealt: list[Fault] = []
        for _ in range(count):
            fault = self._draw()
            if all(fault.parts.isdisjoint(other.parts) for other in dealt):
                dealt.append(fault)
            else:
                self._left.append(type(fault))
        return dealt

    def _draw(self) -> Fault:
        if not self._left:
            self._left = list(self._kinds)
            self._chance.shuffle(self._left)
        kind = self._left.pop()
        subject = self._chance.choice(list(kind.subjects))
        return kind(self._cloud, subject, random.Random(self._chance.getrandbits(64)))
