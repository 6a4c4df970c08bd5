"""How long a drain is likely to take: right within half after a tenth of its bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import pytest

from conductor.drain_estimate import (
    DEFAULT_RATE,
    DEFAULT_REST,
    Copying,
    Finished,
    Load,
    Pace,
    remaining,
    until_all,
)

GIB = 2**30
SEED = 20
DRAINS = 200
TENTH = 0.1
STEP = 0.5
HOSTS = ("h2", "h3", "h4")
PER_TARGET = 2


@dataclass
class Move:
    """A machine that really moves: its disk is filled to a part, and copied unevenly.

    :ivar weight: bytes that lie in it
    :ivar speed: bytes a second in the next moment
    """

    load: Load
    weight: float
    speed: Callable[[], float]
    before: float
    after: float
    begun: float | None = None
    copied: float = 0.0
    copy_began: float = 0.0
    copy_ended: float | None = None
    ended: float | None = None

    def advance(self, now: float) -> None:
        if self.begun is None or self.ended is not None or now < self.begun + self.before:
            return
        if self.copy_ended is None:
            self.copy_began = self.copy_began or now
            self.copied += STEP * self.speed()
            if self.copied >= self.weight:
                self.copied, self.copy_ended = self.weight, now
        elif now >= self.copy_ended + self.after:
            self.ended = now

    def seen(self, now: float) -> Load:
        copying = None
        if self.copied > 0 and self.copy_ended is None:
            copying = Copying(self.copied / self.weight, now - self.copy_began)
        elapsed = None if self.begun is None else now - self.begun
        one = self.load
        return Load(one.id, one.size, one.how, one.target, elapsed, copying)

    def finished(self) -> Finished:
        assert self.copy_ended is not None
        assert self.ended is not None
        assert self.begun is not None
        copied = self.copy_ended - self.copy_began
        return Finished(self.load.size, self.load.how, copied, self.ended - self.begun)


def moves(chance: random.Random, count: int) -> list[Move]:
    """Machines of random sizes on a network of a random throughput."""
    network = 2 ** chance.uniform(23, 28)
    return [_move(chance, number, network) for number in range(count)]


def _move(chance: random.Random, number: int, network: float) -> Move:
    size = round(2 ** chance.uniform(0, 6)) * GIB
    own = network * chance.uniform(0.6, 1.4)
    how = chance.choice(["cold", "off"])
    load = Load(str(number), size, how, chance.choice(HOSTS))
    return Move(
        load, size * chance.uniform(0.2, 0.6), lambda: own * chance.uniform(0.3, 1.7),
        chance.uniform(1, 4), chance.uniform(1, 4),
    )  # fmt: skip


class Simulation:
    """A drain that goes on by itself."""

    def __init__(self, machines: list[Move], slots: int) -> None:
        self.machines = machines
        self.slots = slots
        self.now = 0.0

    def run(self) -> Iterator[float]:
        """Gives the share of all bytes that have moved, moment by moment, until the end."""
        total = sum(one.weight for one in self.machines)
        while any(one.ended is None for one in self.machines):
            self._begin()
            for one in self.machines:
                one.advance(self.now)
            yield sum(one.copied for one in self.machines) / total
            self.now += STEP

    def _begin(self) -> None:
        going = [one for one in self.machines if one.begun is not None and one.ended is None]
        coming = [one.load.target for one in going]
        for one in self.machines:
            has_room = len(coming) < self.slots and coming.count(one.load.target) < PER_TARGET
            if one.begun is None and has_room:
                one.begun = self.now
                coming.append(one.load.target)

    def estimate(self) -> float:
        finished = [one.finished() for one in self.machines if one.ended is not None]
        loads = [one.seen(self.now) for one in self.machines if one.ended is None]
        return until_all(loads, Pace.of(finished, loads), self.slots, PER_TARGET)


def error_of(machines: list[Move], slots: int) -> float:
    """How wrong the estimate is after a tenth of the bytes, as a share of what is really left."""
    drain = Simulation(machines, slots)
    said: tuple[float, float] | None = None
    for share in drain.run():
        if share >= TENTH and said is None:
            said = (drain.now, drain.estimate())
    assert said is not None
    at, estimate = said
    left = drain.now - at
    return abs(estimate - left) / left


@pytest.mark.parametrize("count", [1, 5, 30])
def test_after_a_tenth_of_the_bytes_the_median_is_wrong_by_less_than_half(count: int) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    wrong = [error_of(moves(chance, count), chance.randint(1, 6)) for _ in range(DRAINS // count)]
    print(f"median {median(wrong):.2f}, worst {max(wrong):.2f} of {len(wrong)}")
    assert median(wrong) < 0.5


def test_nothing_known_gives_the_stated_pace() -> None:
    assert Pace.of([], []) == Pace(DEFAULT_RATE, DEFAULT_REST)
    assert remaining(Load("a", 50 * DEFAULT_RATE, "off"), Pace()) == 50 + DEFAULT_REST["off"]


def test_what_has_moved_says_how_fast_others_are() -> None:
    pace = Pace.of([Finished(10 * GIB, "cold", 100.0, 104.0)], [])
    assert remaining(Load("a", 5 * GIB, "cold"), pace) == pytest.approx(54.0)


def test_a_move_under_way_is_judged_by_its_own_bytes() -> None:
    load = Load("a", GIB, "off", "h2", 22.0, Copying(0.25, 20.0))
    assert remaining(load, Pace(1.0, {"off": 2.0})) == pytest.approx(60.0)


def test_a_move_that_is_late_needs_some_time_still() -> None:
    late = Load("a", 0, "cold", "h2", 1000.0)
    assert remaining(late, Pace()) == 1.0


@pytest.mark.parametrize(
    ("slots", "per_target", "seconds"),
    [(1, 2, 60.0), (2, 2, 30.0), (6, 2, 30.0), (6, None, 10.0), (3, None, 20.0)],
)
def test_as_many_move_at_once_as_may(slots: int, per_target: int | None, seconds: float) -> None:
    loads = [Load(str(number), 10, "off", "h2") for number in range(6)]
    assert until_all(loads, Pace(1.0, {"off": 0.0}), slots, per_target) == seconds


def test_nothing_to_move_takes_no_time() -> None:
    assert until_all([], Pace(), 2, 2) == 0.0
