"""One schedule: a plan carried out on a cloud, and what is wrong afterwards."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

from conductor.turn import Turns
from tests.simulation import checks, threads
from tests.simulation.bus import Bus
from tests.simulation.cloud import Cloud, stood_in
from tests.simulation.faults import Faults
from tests.simulation.ground import DirectStore, Ground, Scene
from tests.simulation.machines import Machine, World
from tests.simulation.plan import Plan
from tests.simulation.scheduler import FIRST_MOMENT, Scheduler
from tests.simulation.trouble import Trouble
from tests.simulation.users import Users
from tests.simulation.watch import Watch
from tests.simulation.witness import Witness

CONDUCTORS = ("c1", "c2")
REST_SECONDS = 60.0
LATE_SECONDS = 5.5
DEAD_SECONDS = 10.0
PATIENCE = 6.0
SLICE = 1.0


class Broken(AssertionError):
    """Something that must always hold does not."""


class Schedule:
    """A run of one plan.

    :param ground: of this worker process
    :param trace: whether to keep what happens
    """

    def __init__(
        self, ground: Ground, plan: Plan, scene: Scene | None, trace: bool = False
    ) -> None:
        self.ground = ground
        self.plan = plan
        self.trace: list[str] | None = [] if trace else None
        self.wrongs: list[str] = []
        self._verdicts: dict[str, float] = {}
        self._opened: dict[str, float] = {}
        source = random.Random(plan.order)
        self.scheduler = Scheduler(source, plan.preempt)
        threads.Now.scheduler = self.scheduler
        self.world = World()
        self.bus = Bus(self.scheduler, source, replace(plan.weather))
        self.trouble = Trouble(self.scheduler, source, self.bus.cut, self.bus.traps)
        self.trouble.rates = replace(plan.rates)
        self.cloud = Cloud(
            self.scheduler, self.bus, self.trouble, self.world, ground.sessions, source,
            ground.configurations, ground.policy,
        )  # fmt: skip
        self.cloud.reaper_interval = plan.reaper_interval
        self.cloud.drains = any(item.what == "drain" for item in plan.items)
        self.watch = Watch(
            ground.sessions.raw, self.world, self.wrongs.append, lambda: self.scheduler.current
        )
        self.witness = Witness(self.scheduler, self.wrongs.append)
        self.users = Users(
            self.cloud, plan.emphasis, ground.contexts, ground.parts, self.wrongs.append,
            self.watch.refused,
        )  # fmt: skip
        operator = Turns(
            DirectStore(ground.sessions, self.scheduler, self.trouble), ground.configurations["h1"],
            self.cloud.hint, source,
        )  # fmt: skip
        self.faults = Faults(self.cloud, operator, ground.contexts[1])
        self.bus.traps.strike = self.faults.strike
        self.faults.wish = lambda verb: self.users.ask(random.Random(source.getrandbits(32)), verb)
        self._connect()
        self._set(scene)

    def _connect(self) -> None:
        self.scheduler.wrong = self.bus.wrong = self.cloud.wrong = self.wrongs.append
        self.world.on_launch = self.watch.launch
        self.world.witness = self.witness
        self.bus.on_send = self.witness.sent
        self.bus.on_arrival = self.witness.arrived
        self.bus.on_answer = self.watch.answered
        self.ground.on_change = self._note_change
        self.trouble.on_commit = self._check_ledger
        self.world.wrongs = self.wrongs
        if self.trace is not None:
            self.bus.say = self.say
        self.ground.source = self.cloud.random
        self.ground.bus = self.bus

    def _set(self, scene: Scene | None) -> None:
        """The cloud as the scene has it, before any process runs."""
        if scene is None:
            self.ground.sessions.restore(self.ground.empty)
            names = [f"h{number + 1}" for number in range(self.plan.hosts)]
            zones = {name: f"az{number % 2 + 1}" for number, name in enumerate(names)}
            machines = {name: Machine(name, zones[name]) for name in names}
        else:
            self.ground.sessions.restore(scene.database)
            machines = deepcopy(scene.machines)
            self.world.written = dict(scene.written)
            self.users.instances = list(scene.instances)
        source = random.Random(self.plan.order + 1)
        for machine in machines.values():
            machine.offset = source.uniform(0, 5000)
            machine.rate = source.choice([1.0, 1.0, 0.97, 1.03])
            machine.disk.on_write = self.scheduler.may_give_way
        self.world.machines = machines

    # --- running

    def run(self) -> None:
        """Carry the plan out, heal everything, and see that it comes to rest.

        :raises Broken: something is wrong
        """
        try:
            for name in CONDUCTORS:
                self.cloud.start_conductor(name)
            for name in self.world.machines:
                self.cloud.boot(name)
            for item in self.plan.items:
                self.scheduler.at(FIRST_MOMENT + item.at, lambda item=item: self._happen(item))  # type: ignore[misc]
            self.scheduler.run(FIRST_MOMENT + self.plan.length, self._is_broken)
            self._judge()
            self._rest()
        finally:
            self.scheduler.close()

    def _happen(self, item: Any) -> None:
        source = random.Random(item.salt)
        if self.trace is not None:
            self.say("!!!", item.what, item.chosen)
        if item.what == "ask":
            self.users.ask(source, item.chosen)
        elif item.what == "create":
            self.users.create(source)
        elif item.what == "trap":
            self.bus.traps.arm(source, item.chosen)
        else:
            self.faults.happen(item.what, source, item.chosen)

    def _rest(self) -> None:
        self.faults.heal()
        if self.trace is not None:
            self.say("!!!", "healed")
        healed = self.scheduler.now
        rough = self.plan.weather.late or self.plan.weather.double
        soonest = healed + (LATE_SECONDS if rough else SLICE)
        restless: list[str] = ["it was not looked at"]
        while restless and self._may_wait(healed):
            self.scheduler.run(max(self.scheduler.now + SLICE, soonest), self._is_broken)
            if self.scheduler.now > healed + PATIENCE:
                late = self.cloud.moment(-PATIENCE)
                self.wrongs += checks.overdue(self.ground.sessions.raw, late)
            self._judge()
            for name in self.world.machines:
                self.cloud.boot(name)
            restless = self.restlessness()
        self._check_ledger()
        self.watch.check_steps()
        self.wrongs += restless
        self.wrongs += checks.unfinished(self.ground.sessions.raw, self.users.accepted)
        self.wrongs += checks.forgotten(self.ground.sessions.raw)
        self._judge()

    def _may_wait(self, healed: float) -> bool:
        """Whether the cloud has time left: its own, or that of what was accepted before it was
        healed."""
        if self.scheduler.now < healed + REST_SECONDS:
            return True
        now, then = self.cloud.moment(), self.cloud.moment(healed - self.scheduler.now)
        return checks.is_awaited(self.ground.sessions.raw, now, then)

    def restlessness(self) -> list[str]:
        """Why this is not the end; empty when all is at rest and in agreement."""
        if self.users.busy:
            return ["a request is under way"]
        if found := checks.restlessness(self.ground.sessions.raw):
            return [found]
        for process in self.cloud.agents.values():
            if process is None or process.runner is None or process.runner.held():
                return ["an agent works"]
        return checks.disagreements(self.ground.sessions.raw, self.world)

    # --- what must hold

    def _is_broken(self) -> bool:
        return bool(self.wrongs)

    def _judge(self) -> None:
        if self.wrongs:
            raise Broken("; ".join(self.wrongs))

    def _note_change(self, what: str, about: str, fact: str | None, other: str) -> None:
        """A transaction changes a row; it may yet be undone, but it was decided so."""
        if what == "verdict":
            self._note_verdict(about, fact)
        elif what == "change":
            if self.scheduler.task == "report":
                self.watch.changed[self.scheduler.current, about] = fact
        elif what == "start" and (fact or "") <= self.cloud.moment():
            self.wrongs.append(f"the step {about[:4]} is started when its time is over")
        elif what == "start" and other != "up0":
            self.wrongs.append(f"the step {about[:4]} is started on a host that is not up")
        elif what == "stranded" and self._could_reroute(str(fact), other):
            self.wrongs.append(f"the create {about[:4]} waited for {fact}, and {other} is open")
        elif what == "deadline":
            self.wrongs.append(f"the step {about[:4]} gets more time without progress")
        elif what in ("up", "room"):
            self._opened[about] = self.scheduler.now
            if what == "up" and self.scheduler.task != "reconciled":
                self.wrongs.append(f"{about} is up and has not reconciled")

    def _could_reroute(self, host: str, other: str) -> bool:
        """Whether a host was known to be dead, another one open, and some conductor well, for some
        seconds."""
        long_ago = self.scheduler.now - PATIENCE
        well = [self.faults.sound_since(one) for one in self.cloud.conductors.values() if one]
        judged = self._verdicts.get(host, self.scheduler.now)
        since = (judged, self._opened.get(other, 0.0), min(well))
        return max(since) < long_ago

    def _note_verdict(self, host: str, others: str | None) -> None:
        process = self.scheduler.process
        self._verdicts[host] = self.scheduler.now
        proven = self.scheduler.now - self.faults.sound_since(process)
        if proven < DEAD_SECONDS:
            self.wrongs.append(f"{process.name} judges {host} and was well for {proven:.1f} s only")
        if others:
            self.wrongs.append(f"{host} is judged dead, and {others} fell silent with it")

    def _check_ledger(self) -> None:
        self.wrongs += checks.broken_invariants(self.ground.sessions.raw)

    def say(self, *what: Any) -> None:
        """Keep what happens."""
        if self.trace is not None:
            text = " ".join(str(one) for one in what)
            self.trace.append(f"{self.scheduler.now - FIRST_MOMENT:8.3f} {text}")


class _Told(logging.Handler):
    """Puts what the product logs into the trace."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    def emit(self, record: logging.LogRecord) -> None:
        process = self._schedule.scheduler.process
        self._schedule.say(process.name, "LOG", record.levelname, record.getMessage(),
                           {k: v[:4] for k, v in vars(record).items() if k.endswith("_id")},
                           record.exc_info[1] if record.exc_info else "")  # fmt: skip


@contextmanager
def logged(schedule: Schedule) -> Iterator[None]:
    """Keep what the product logs in the trace; otherwise only what it did not expect counts."""
    root, handler = logging.getLogger(), _Told(schedule)
    root.addHandler(handler)
    level, root.level = root.level, logging.INFO
    logging.disable(logging.NOTSET)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.level = level


__all__ = ["Broken", "Schedule", "logged", "stood_in"]
