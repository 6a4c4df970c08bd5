"""A model of an agent process, one small act at a time, on a network that may fail."""

from __future__ import annotations

import random
from dataclasses import dataclass

from paddock.actions import LAUNCHING, Seen, StepKind
from paddock.clients import ConductorClient
from paddock.errors import (
    HypervisorError,
    LaunchBarred,
    PaddockError,
    ServiceUnavailable,
    StaleEpoch,
    WorkCancelled,
)
from paddock.records import (
    HeartbeatAnswer,
    LiveStep,
    Observation,
    Outcome,
    Progress,
    StepRef,
    Verdict,
    WorkOrder,
)
from tests.fixtures.ledger import Clock
from tests.fixtures.model_agent import Agent, Machine, World, work
from tests.simulation.network import Network

LEASE = 8.0


@dataclass
class Task:
    """A step that the agent has taken on."""

    step: LiveStep
    order: WorkOrder | None = None
    outcome: Outcome | None = None
    started_at: float = 0.0
    cancelled: bool = False


class SimAgent(Agent):
    """A process on a machine; it is dead when the schedule drops it.

    :ivar stale: it learned that another process speaks for its host
    """

    def __init__(
        self,
        conductor: ConductorClient,
        world: World,
        machine: Machine,
        epoch: str,
        clock: Clock,
        network: Network,
        source: random.Random,
    ) -> None:
        super().__init__(conductor, world, machine, epoch)
        self._clock = clock
        self._network = network
        self._random = source
        self.known = False
        self.stale = False
        self.tasks: list[Task] = []
        self.last = machine.last
        self.lease = float("-inf")
        self.reconciled = False
        self.ordered = False
        self.verdicts: list[Verdict] | None = None
        self.reports: list[Observation] = []
        self.bars: set[str] = set()

    def acts(self) -> list[str]:
        """What this agent has to do now, the more pressing the more often."""
        started = [task for task in self.tasks if task.order]
        done = [task for task in started if task.outcome]
        return [
            "beat",
            "look",
            *["reconcile"] * 2 * self.ordered,
            *["report"] * bool(self.reports),
            *["start"] * 3 * (len(self.tasks) - len(started)),
            *["work"] * 3 * (len(started) - len(done)),
            *["finish"] * 3 * len(done),
        ]

    def act(self, name: str) -> None:
        """Do one thing; what goes wrong on the way is tried again another time."""
        try:
            getattr(self, f"act_{name}")()
        except StaleEpoch:
            self.stale = True
        except ServiceUnavailable:
            pass

    # --- hello, heartbeats, reconcile

    def act_beat(self) -> None:
        if not self.known:
            self._network.call(self.machine.name, self.hello)
            self.known = True
            self.ordered = True
        sent = self._clock.monotonic
        held = [task for task in self.tasks if self._has_slot(task)]
        answer = self._network.call(self.machine.name, lambda: self._beat(held))
        if not self._is_leased():
            self.reconciled = False
        self.lease = max(self.lease, sent + LEASE)
        self.ordered |= not self.reconciled or "reconcile" in answer.orders
        self._heal(answer, sent)

    def _beat(self, held: list[Task]) -> HeartbeatAnswer:
        self.held = {task.step.step_id: task.step.attempt for task in held}
        return self.beat()

    def _heal(self, answer: HeartbeatAnswer, sent: float) -> None:
        listed = {(step.step_id, step.attempt) for step in answer.steps}
        for task in self.tasks:
            old = task.order is not None and task.started_at < sent
            if old and (task.step.step_id, task.step.attempt) not in listed:
                task.cancelled = True
        for step in answer.steps:
            if step.status == "accepted":
                self.offer(step)
            elif not any(_same(task, step) for task in self.tasks):
                self._network.call(
                    self.machine.name,
                    lambda s=step: self.conductor.hand_back(self.ref(s), s.epoch),  # type: ignore[misc]
                )

    def act_reconcile(self) -> None:
        """First ask, then, at another time, carry out; both may be far apart."""
        if not (self.ordered and self.known):
            return
        name = self.machine.name
        if self.verdicts is None:
            self.verdicts = self._ask()
            return
        verdicts, self.verdicts = self.verdicts, None
        removed = [done for verdict in verdicts if (done := self._carry_out(verdict))]
        self._network.call(name, lambda: self.conductor.reconciled(name, self.epoch, removed))
        self.ordered, self.reconciled = False, self._is_leased()

    def _ask(self) -> list[Verdict]:
        name, found = self.machine.name, self.machine.found()
        return self._network.call(name, lambda: self.conductor.reconcile(name, self.epoch, found))

    def _carry_out(self, verdict: Verdict) -> Verdict | None:
        key = verdict.instance_id
        if verdict.verdict != "remove" or any(t.step.instance_id == key for t in self.tasks):
            return None
        again = next((one for one in self._ask() if one.instance_id == key), None)
        if again is None or again.verdict != "remove":
            return None
        self.machine.remove(key, again.below)
        return again

    # --- steps

    def offer(self, step: LiveStep) -> None:
        """Take on an accepted step, unless it is held or nothing may be begun now."""
        if self._may_work() and not any(_same(task, step) for task in self.tasks):
            self.tasks.append(Task(step))

    def act_start(self) -> None:
        """Ask for the work of a step that has its slot."""
        waiting = [task for task in self.tasks if task.order is None and self._has_slot(task)]
        if not waiting:
            return
        task = self._random.choice(waiting)
        if not self._may_work():
            self.tasks.remove(task)
            return
        ref = self.ref(task.step)
        try:
            answers = self._network.call(self.machine.name, lambda: self.conductor.start([ref]))
        except ServiceUnavailable:
            if self._random.random() < 0.3:
                self.tasks.remove(task)
            return
        self._started(task, answers[0])

    def _started(self, task: Task, answer: WorkOrder | PaddockError) -> None:
        if isinstance(answer, WorkOrder):
            task.order, task.started_at = answer, self._clock.monotonic
            return
        self.tasks.remove(task)
        if isinstance(answer, StaleEpoch):
            raise answer

    def act_work(self) -> None:
        """Do the work of a step that was started."""
        ready = [task for task in self.tasks if task.order and task.outcome is None]
        if not ready:
            return
        task = self._random.choice(ready)
        assert task.order is not None
        if task.order.kind == StepKind.FETCH and self._random.random() < 0.3:
            self._tell_progress(self.ref(task.step))
            return
        task.outcome = self._outcome(task, task.order)

    def _tell_progress(self, ref: StepRef) -> None:
        told = Progress(step=ref, done=self._random.randrange(100), total=100)
        try:
            self._network.call(self.machine.name, lambda: self.conductor.progress(told))
        except ServiceUnavailable:
            pass
        except PaddockError:
            for task in self.tasks:
                task.cancelled |= task.step.step_id == ref.step_id

    def _outcome(self, task: Task, order: WorkOrder) -> Outcome:
        key, error = order.guest.id, None
        if order.kind not in (StepKind.DESTROY, StepKind.DISCARD):
            self.last[key] = order.action_id
        try:
            self._do(task, order)
        except PaddockError as failed:
            error = failed.to_wire()
        if key in self.bars and order.kind != StepKind.DESTROY:
            self.machine.remove(key)
            self.bars.discard(key)
        seen = None if self._random.random() < 0.05 else self.machine.seen(key)
        return Outcome(step=self.ref(task.step), error=error, seen=seen)

    def _do(self, task: Task, order: WorkOrder) -> None:
        key, dice = order.guest.id, self._random.random() if self._network.rough else 1.0
        if order.kind == StepKind.DESTROY:
            others = [t for t in self.tasks if t is not task and t.step.instance_id == key]
            for other in others:
                other.cancelled = True
            if any(other.order for other in others):
                self.bars.add(key)
        elif task.cancelled:
            raise WorkCancelled("cancelled")
        if dice < 0.04:
            raise HypervisorError("it failed before")
        if order.kind in LAUNCHING and (not self._may_work() or key in self.bars):
            raise LaunchBarred("barred")
        work(self.world, self.machine, order)
        if dice < 0.07 and order.kind not in LAUNCHING:
            raise HypervisorError("it failed afterwards")

    def act_finish(self) -> None:
        """Say how a step ended, until that is answered."""
        done = [task for task in self.tasks if task.outcome]
        if not done:
            return
        task = self._random.choice(done)
        assert task.outcome is not None
        outcome = task.outcome
        answers = self._network.call(self.machine.name, lambda: self.conductor.finish([outcome]))
        if not isinstance(answers[0], ServiceUnavailable):
            self.tasks.remove(task)
        if isinstance(answers[0], StaleEpoch):
            raise answers[0]

    # --- what is seen

    def act_look(self) -> None:
        """See what an instance without work is; it is told later."""
        held = {task.step.instance_id for task in self.tasks}
        keys = set(self.machine.domains) - held
        if keys:
            key = self._random.choice(sorted(keys))
            domain = self.machine.domains[key]
            self.reports.append(
                Observation(
                    instance_id=key, generation=domain.generation, seen=domain.seen,
                    action_id=self.last.get(key),
                )
            )  # fmt: skip

    def act_report(self) -> None:
        """Tell what was seen."""
        told, self.reports = self.reports, []
        name = self.machine.name
        if told:
            self._network.call(name, lambda: self.conductor.report(name, self.epoch, told))

    # --- rules

    def _is_leased(self) -> bool:
        return self._clock.monotonic < self.lease

    def _may_work(self) -> bool:
        if not self._is_leased():
            self.reconciled = False
        return self.reconciled

    def _has_slot(self, task: Task) -> bool:
        if task.step.kind == StepKind.DESTROY:
            return True
        mine = [
            other
            for other in self.tasks
            if other.step.instance_id == task.step.instance_id
            and other.step.kind != StepKind.DESTROY
        ]
        return mine[0] is task

    def is_idle(self) -> bool:
        """Whether nothing waits here."""
        return not self.tasks and not self.ordered and self.reconciled


def _same(task: Task, step: LiveStep) -> bool:
    return (task.step.step_id, task.step.attempt) == (step.step_id, step.attempt)


def power_cut(machine: Machine) -> None:
    """All guests end at once."""
    for domain in machine.domains.values():
        if domain.seen in (Seen.RUNNING, Seen.PAUSED):
            domain.seen = Seen.CRASHED
