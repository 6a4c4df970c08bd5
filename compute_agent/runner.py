"""The bookkeeping around every step: slot, start, worker, finish."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from oslo_config import cfg

from compute_agent.epoch import Identity
from compute_agent.gatherer import Gatherer
from compute_agent.job import Task
from compute_agent.lease import Lease
from compute_agent.performer import Performer
from compute_agent.pool import Pool
from compute_agent.slots import Slots
from paddock import failpoints
from paddock.actions import MOVING, StepKind
from paddock.clients import ConductorClient
from paddock.deadline import Deadline
from paddock.errors import PaddockError, ServiceUnavailable, StepRefused
from paddock.records import HeldStep, LiveStep, Outcome, Progress, StepRef, WorkOrder
from paddock.service import Timer

LOG = logging.getLogger(__name__)
DESTROYERS = 2
RETURNERS = 1
PROGRESS_SECONDS = 1.0
QUESTIONS, STEPS = 2, 50
"""Calls of start, and of finish, at once; steps of one call."""
START_PAUSES = (0.2, 0.5, 1.0)
LONGEST_PAUSE = 5.0
LET_GO_SECONDS = 0.5


class Runner:
    """Runs steps, at most one worker per instance.

    A step's slot is taken before start is sent and given up when finish is answered; meanwhile
    the step counts as held. Moves of data, deletions and what is handed back have threads of
    their own.

    :param slots: shared with the reconciler
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        identity: Identity,
        conductor: ConductorClient,
        performer: Performer,
        slots: Slots[object],
        lease: Lease,
    ) -> None:
        self._identity = identity
        self._conductor = conductor
        self._ask_to_start = Gatherer(self._ask_for_work, QUESTIONS, STEPS)
        self._tell_ended = Gatherer(conductor.finish, QUESTIONS, STEPS)
        self._performer = performer
        self._slots = slots
        self._lease = lease
        self._workers = Pool(conf.compute.workers, "worker")
        self._movers = Pool(conf.compute.movers, "mover")
        self._destroyers = Pool(DESTROYERS, "destroyer")
        self._returners = Pool(RETURNERS, "returner")
        self._timer = Timer(self.tell_progress, PROGRESS_SECONDS, "progress")
        self._tasks: dict[tuple[str, int], Task] = {}
        self._returning: set[tuple[str, int]] = set()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._gone = threading.Event()

    # --- what others ask of it

    def start(self) -> None:
        """Begin to tell of progress."""
        self._timer.start()

    def stop(self, timeout: float) -> None:
        """Begin no more steps and wait for the running ones until finish is answered.

        What does not end in time is left to the next process, which hands it back.
        """
        deadline = Deadline.of(timeout)
        self._stopping.set()
        with self._changed:
            self._changed.wait_for(
                lambda: not self._tasks, max(deadline.left() - LET_GO_SECONDS, 0.0)
            )
            left = list(self._tasks.values())
        self._gone.set()
        for task in left:
            task.cancel("The agent stops.")
        for part in (
            self._timer, self._returners, self._destroyers, self._movers, self._workers,
        ):  # fmt: skip
            part.stop(deadline.left())

    def offer(self, step: LiveStep) -> None:
        """Take on an accepted step, unless it is held already or nothing may be started now."""
        if not self._may_start():
            return
        task = Task(step)
        with self._changed:
            if self._tasks.setdefault(task.key, task) is not task:
                return
        if step.kind == StepKind.DESTROY:
            self._submit(task)
        else:
            self._slots.enter(step.instance_id, task, partial(self._submit, task))

    def hand_back(self, step: LiveStep, then: Callable[[], object]) -> None:
        """Give back a running step that this process does not hold, beside the workers.

        Each heartbeat says so again; while one attempt is being given back, that is enough.

        :param then: called when the conductor took it
        """
        key = (step.step_id, step.attempt)
        with self._changed:
            if key in self._returning:
                return
            self._returning.add(key)
        self._returners.submit(partial(self._hand_back, step, then))

    def held(self) -> list[HeldStep]:
        """The steps that this agent holds."""
        return [
            HeldStep(step_id=task.step.step_id, attempt=task.step.attempt)
            for task in self._listed()
            if task.holds
        ]

    def holds(self, step: LiveStep) -> bool:
        """Whether this attempt was taken on."""
        return (step.step_id, step.attempt) in self._tasks

    def cancel_unlisted(self, listed: Iterable[LiveStep], sent_at: float) -> None:
        """Stop workers whose step the answer to a heartbeat does not list.

        :param sent_at: when the heartbeat was sent; steps started later are not meant
        """
        keys = {(step.step_id, step.attempt) for step in listed}
        for task in self._listed():
            started = task.started_at
            if started is not None and started < sent_at and task.key not in keys:
                task.cancel("The ledger no longer lists this step.")

    def tell_progress(self) -> None:
        """Tell the conductor how far the data movers are."""
        for task in self._listed():
            if news := task.news():
                self._tell(task, news)

    # --- one step

    def _submit(self, task: Task) -> None:
        task.holds = True
        kind = task.step.kind
        pool = self._workers
        if kind == StepKind.DESTROY:
            pool = self._destroyers
        elif kind in MOVING:
            pool = self._movers
        if not pool.submit(partial(self._run, task)):
            self._let_go(task)

    def _run(self, task: Task) -> None:
        try:
            order = self._start(task)
            if order is not None:
                failpoints.hit("runner.started")
                outcome = self._performer.perform(task, order, self._ref(task))
                failpoints.hit("runner.before-finish")
                self._finish(task, outcome)
                failpoints.hit("runner.finished")
        finally:
            self._let_go(task)

    def _start(self, task: Task) -> WorkOrder | None:
        """Ask for the work; None when it may not begin, which the next heartbeats sort out."""
        ref = self._ref(task)
        for pause in (*START_PAUSES, None):
            if not self._may_start():
                return None
            try:
                answer = self._ask_to_start(ref)
            except PaddockError as error:
                answer = error
            if isinstance(answer, WorkOrder):
                task.begin(answer)
                return answer
            if pause is None or not isinstance(answer, ServiceUnavailable):
                LOG.info("The step was not started: %s", answer, extra=task.about)
                return None
            self._stopping.wait(pause)
        return None

    def _ask_for_work(self, refs: list[StepRef]) -> Sequence[WorkOrder | PaddockError]:
        """What waited for its turn here may have come too late."""
        if not self._may_start():
            raise ServiceUnavailable("Nothing may be started on this host now.")
        return self._conductor.start(refs)

    def _may_start(self) -> bool:
        return not self._stopping.is_set() and self._lease.is_valid()

    def _finish(self, task: Task, outcome: Outcome) -> None:
        """Say how it ended until that is answered, or until this process ends."""
        pause = START_PAUSES[0]
        while not self._gone.is_set():
            try:
                answer = self._tell_ended(outcome)
            except PaddockError as error:
                answer = error
            except Exception:
                LOG.exception("Finish failed and is repeated", extra=task.about)
                answer = ServiceUnavailable()
            if not isinstance(answer, ServiceUnavailable):
                said = "has ended" if answer is True else "ended, but the ledger is past it"
                LOG.info("The step %s %s", task.step.kind, said, extra=task.about)
                return
            self._gone.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _let_go(self, task: Task) -> None:
        with self._changed:
            self._tasks.pop(task.key, None)
            self._changed.notify_all()
        self._slots.leave(task.step.instance_id, task)

    def _hand_back(self, step: LiveStep, then: Callable[[], object]) -> None:
        ref = self._identity.ref(step.step_id, step.attempt)
        about = Task(step).about
        try:
            taken = self._conductor.hand_back(ref, step.epoch)
        except PaddockError as error:
            LOG.info("The step %s was not handed back: %s", step.kind, error, extra=about)
            return
        finally:
            with self._changed:
                self._returning.discard((step.step_id, step.attempt))
        if taken:
            LOG.info("The step %s was handed back", step.kind, extra=about)
            then()

    def _tell(self, task: Task, progress: tuple[int, int]) -> None:
        done, total = progress
        try:
            self._conductor.progress(Progress(step=self._ref(task), done=done, total=total))
        except StepRefused as error:
            task.cancel(error.message)
        except PaddockError as error:
            LOG.info("Progress was not told: %s", error, extra=task.about)
        else:
            task.told(progress)

    def _listed(self) -> list[Task]:
        with self._changed:
            return list(self._tasks.values())

    def _ref(self, task: Task) -> StepRef:
        return self._identity.ref(*task.key)
