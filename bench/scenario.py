"""What is measured of a running cloud, round by round, each round with the floor beside it."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from bench import floor
from bench.beats import beats_per_second
from bench.cloud import check, memory
from bench.counters import Counters, Counts
from bench.figures import FLOOR_AT_8, FLOOR_AT_64, FLOOR_CPU, FLOOR_ONE, Figures
from bench.ledger import Batch
from bench.startup import measure_start
from bench.work import Work
from devstack.local import LocalCloud

MANY = 50
PAIRS = (("pause", "unpause"), ("os-stop", "os-start"))
NAMES = {"os-stop": "stop", "os-start": "start"}
SHOWN, LISTED = 30, 5
SETTLE_SECONDS = 3.0
LEAST_ROUNDS = 2
BEATERS = 16
BEATING = [f"s{number}" for number in range(1, 3 * BEATERS + 1)]
"""Hosts that are played, for heartbeats: so many at once, one group after the other."""


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    :ivar rounds: how often everything is
    :ivar seconds: after which no further round begins; two always do
    :ivar single: actions one by one, each round
    :ivar batches: of the floor, each round and concurrency
    :ivar pairs_at_64: how many pairs of actions at a concurrency of 64
    :ivar lists: how many servers are listed
    :ivar starts: how often Paddock's processes are started anew
    :ivar cold_starts: the same with broker and database
    :ivar idle_seconds: how long nothing is asked, to see what an idle cloud does
    :ivar beat_seconds: how long each group's heartbeats are counted
    """

    rounds: int
    seconds: float
    single: int
    batches: int
    pairs_at_64: int
    lists: Sequence[int]
    starts: int
    cold_starts: int
    idle_seconds: float
    beat_seconds: float


FULL = Extent(7, 900.0, 20, 5, 2, (50, 500, 1000), 5, 3, 15.0, 6.0)
QUICK = Extent(3, 75.0, 6, 3, 1, (50, 500), 2, 1, 5.0, 2.0)


class Scenario:
    """Measures one cloud.

    :param figures: where the results go
    """

    def __init__(self, cloud: LocalCloud, figures: Figures, extent: Extent) -> None:
        self._cloud = cloud
        self._figures = figures
        self._extent = extent

    def run(self) -> None:
        """Measure everything.

        :raises RuntimeError: an action failed, or the ledger is not well afterwards
        """
        with closing(Work(self._cloud)) as work:
            self._start(work)
            time.sleep(SETTLE_SECONDS)
            self._memory("idle")
            self._run_rounds(work)
            self._reads(work)
            self._memory("after")
            self._figures.add("requests answered 503", "", work.refused)
        if wrong := check(self._cloud):
            raise RuntimeError(f"the ledger is not well: {wrong}")
        self._heartbeats()  # whose hosts fall silent afterwards

    def _run_rounds(self, work: Work) -> None:
        with (
            closing(Counters(self._cloud)) as counters,
            floor.running(self._cloud) as its_floor,
        ):
            with counters.during() as idle:
                time.sleep(self._extent.idle_seconds)
            end = time.monotonic() + self._extent.seconds
            for number in range(1, self._extent.rounds + 1):
                if number > LEAST_ROUNDS and time.monotonic() > end:
                    break
                say(f"round {number} of {self._extent.rounds}")
                self._floor(its_floor)
                self._one_by_one(work)
                self._many(work, Costs(counters, idle.counts, self._figures))

    def _start(self, work: Work) -> None:
        for cold, count in ((True, self._extent.cold_starts), (False, self._extent.starts)):
            name = "first boot from nothing" if cold else "first boot from processes down"
            for _ in range(count):
                say(name)
                self._figures.add(name, "s", measure_start(self._cloud, work, cold))

    def _floor(self, its_floor: floor.Floor) -> None:
        add = self._figures.add
        add(FLOOR_ONE, "ms", statistics.median(its_floor.one(self._extent.single)))
        for name, concurrency in ((FLOOR_AT_8, 8), (FLOOR_AT_64, 64)):
            before = its_floor.cpu_seconds()
            batches = [its_floor.many(MANY, concurrency) for _ in range(self._extent.batches)]
            used = its_floor.cpu_seconds() - before
            add(name, "/s", statistics.median(batch.rate for batch in batches))
            if concurrency == 8:
                add(FLOOR_CPU, "ms", 1000 * used / (MANY * len(batches)))

    def _one_by_one(self, work: Work) -> None:
        found: dict[str, list[float]] = {}
        for _ in range(max(self._extent.single // 4, 3)):
            server, took = work.boot()
            found.setdefault("boot", []).append(took)
            found.setdefault("delete", []).append(work.delete(server))
        server, _ = work.boot()
        for pair in PAIRS:
            for _ in range(self._extent.single):
                for verb in pair:
                    found.setdefault(_name(verb), []).append(work.act(server, verb))
        seen, told = work.polled(server, "pause")
        found |= {"pause polled every 2 ms": [seen], "the same by the ledger": [told]}
        found["show"] = [work.show(server) for _ in range(SHOWN)]
        work.delete(server)
        for name, values in found.items():
            self._figures.add(name, "ms", statistics.median(values))

    def _many(self, work: Work, costs: "Costs") -> None:
        self._batch("boot.at8", costs.of("boot", lambda: work.boot_many(MANY, 8)))
        servers = work.servers()
        for concurrency, pairs in ((8, PAIRS), (64, PAIRS[: self._extent.pairs_at_64])):
            for pair in pairs:
                for verb in pair:
                    self._act_many(work, servers, verb, concurrency, costs)
        self._batch("delete.at8", costs.of("delete", lambda: work.delete_many(servers, 8)))
        self._figures.add("boot.burst", "/s", work.burst(MANY).rate)
        work.delete_many(work.servers(), 8)

    def _act_many(
        self, work: Work, servers: Sequence[str], verb: str, concurrency: int, costs: "Costs"
    ) -> None:
        def act() -> Batch:
            return work.act_many(servers, verb, concurrency)

        name = _name(verb)
        batch = costs.of(name, act) if concurrency == 8 else act()
        self._batch(f"{name}.at{concurrency}", batch)

    def _batch(self, name: str, batch: Batch) -> None:
        self._figures.add(name, "/s", batch.rate)

    def _reads(self, work: Work) -> None:
        for count in self._extent.lists:
            say(f"a list of {count}")
            there = len(work.servers())
            while there < count:
                there += len(work.burst(min(MANY, count - there)).times)
            for _ in range(LISTED):
                self._figures.add(f"list of {count}", "ms", work.list(count))

    def _memory(self, when: str) -> None:
        sizes = {name: size / 2**20 for name, size in memory(self._cloud).items()}
        for name, size in {**sizes, "all": sum(sizes.values())}.items():
            self._figures.add(f"memory {when}, {name}", "MiB", size)

    def _heartbeats(self) -> None:
        say("heartbeats")
        for first in range(0, len(BEATING), BEATERS):
            names = BEATING[first : first + BEATERS]
            rate, used = beats_per_second(self._cloud, names, self._extent.beat_seconds)
            self._figures.add("heartbeats", "/s", rate)
            self._figures.add("cpu.heartbeat, conductor", "ms", 1000 * used)


class Costs:
    """Notes what the servers of a batch cost beside how long it took."""

    def __init__(self, counters: Counters, idle: Counts, figures: Figures) -> None:
        self._counters = counters
        self._idle = idle
        self._figures = figures

    def of(self, name: str, batch: Callable[[], Batch]) -> Batch:
        """Run a batch and note its costs for one action."""
        with self._counters.during() as grown:
            done = batch()
        found = grown.counts.without(self._idle)
        self._note(name, {key: value / len(done.times) for key, value in found.items()})
        return done

    def _note(self, name: str, costs: Mapping[str, float]) -> None:
        cpu = {key: value for key, value in costs.items() if key.startswith("cpu.")}
        for key, value in costs.items():
            if key not in cpu:
                self._figures.add(f"{key} of {name}", "", value)
        for key, value in {**cpu, "cpu.all": sum(cpu.values())}.items():
            self._figures.add(f"cpu.{name}, {key.removeprefix('cpu.')}", "ms", 1000 * value)


def say(text: str) -> None:
    """Tell who waits what is going on; standard output is for the results."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def _name(verb: str) -> str:
    return NAMES.get(verb, verb)
