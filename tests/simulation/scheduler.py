"""Green threads of simulated processes, one at a time, in an order that a seed decides.

Whatever waits (for a lock, an event, a queue, an answer, a while) gives the word to the scheduler,
which goes on with any task that is ready, and lets time pass when none is.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

FIRST_MOMENT = 1000.0


class Process:
    """What dies as a whole: its tasks never run again, and nothing that they call does anything.

    :param offset: seconds by which its machine's monotonic clock is ahead
    :param rate: seconds on that clock in one second
    :ivar place: where it runs, for the network
    :ivar born_at: when it began
    :ivar thawed_at: when it last went on after it had stood still
    :ivar fuse: how many waits are left before it dies; 0 for no end
    :ivar on_fuse: called when it dies so
    """

    def __init__(self, name: str, place: str, offset: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.place = place
        self.offset = offset
        self.rate = rate
        self.alive = True
        self.frozen = False
        self.born_at = 0.0
        self.thawed_at = float("-inf")
        self.fuse = 0
        self.on_fuse: Callable[[], object] = lambda: None
        self.held: list[Task] = []


class Task:
    """A green thread.

    :ivar token: names its present wait, so that a late waker wakes no later one
    """

    __slots__ = ("answer", "ended", "green", "joiners", "name", "process", "token")

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.token = 0
        self.answer: Any = None
        self.ended = False
        self.joiners: list[tuple[Task, int]] = []
        self.green: greenlet | None = None


class Scheduler:
    """The tasks of all processes, and the time.

    :param source: decides who is next
    :param preempt: how likely an uncontended lock gives way to others
    :ivar now: true time, seconds
    :ivar wrong: told of every error that ends a task
    """

    def __init__(self, source: random.Random, preempt: float = 0.0) -> None:
        self.random = source
        self.preempt = preempt
        self.now = FIRST_MOMENT
        self.current: Task | None = None
        self.closing = False
        self.switches = 0
        self.wrong: Callable[[str], None] = lambda _: None
        self._hub = getcurrent()
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Any, int]] = []
        self._count = 0
        self._tasks: set[Task] = set()
        self._idle = Process("nobody", "nowhere")

    # --- from outside

    def spawn(
        self, process: Process, function: Callable[..., object], name: str, *args: Any
    ) -> Task:
        """Begin a task; in a dead process it never runs."""
        task = Task(process, name)
        if process.alive and not self.closing:
            task.green = greenlet(lambda: self._live(task, function, args), self._hub)
            self._tasks.add(task)
            self._ready.append(task)
        return task

    def at(self, moment: float, function: Callable[[], object]) -> None:
        """Call a function that does not wait, at a moment of true time."""
        self._count += 1
        heapq.heappush(self._timers, (moment, self._count, function, -1))

    def after(self, seconds: float, function: Callable[[], object]) -> None:
        """Call a function that does not wait, after so many seconds of true time."""
        self.at(self.now + seconds, function)

    def run(self, until: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let everything happen up to a moment, or until ``is_over`` while nobody is ready."""
        while not is_over():
            while self._ready:
                self._step()
            if not self._timers or self._timers[0][0] > until:
                self.now = max(self.now, until)
                return
            self._fire()

    def close(self) -> None:
        """End all tasks without effect."""
        self.closing = True
        for task in self._tasks:
            if task.green is not None and task.green:
                self.current = task
                task.green.throw(GreenletExit)
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()
        self.current = None

    def kill(self, process: Process) -> None:
        """End a process at once; when it is the caller's own, this does not return."""
        process.alive = False
        process.held.clear()
        self.leave_if_dead()

    def freeze(self, process: Process) -> None:
        """Let a process stand still."""
        process.frozen = True

    def thaw(self, process: Process) -> None:
        """Let a process go on."""
        if process.frozen:
            process.thawed_at = self.now
        process.frozen = False
        self._ready += process.held
        process.held = []

    # --- from tasks

    @property
    def process(self) -> Process:
        """The process of the running task."""
        return self.current.process if self.current else self._idle

    @property
    def task(self) -> str:
        """The name of the running task."""
        return self.current.name if self.current else ""

    def clock(self) -> float:
        """The monotonic clock of the running task's machine."""
        process = self.process
        return self.now * process.rate + process.offset

    def leave_if_dead(self) -> None:
        """Do not go on in a process that has died."""
        if self.closing or not self.process.alive:
            raise GreenletExit

    def block(self, timeout: float | None = None) -> Any:
        """Wait until woken with an answer; None after so many seconds on the machine's clock."""
        task = self.current
        if task is None or self.closing:
            raise GreenletExit
        if task.process.fuse:
            self._burn(task.process)
        task.answer = None
        if timeout is not None:
            self._count += 1
            moment = self.now + max(timeout, 0.0) / task.process.rate
            heapq.heappush(self._timers, (moment, self._count, task, task.token))
        self._hub.switch()
        if self.closing or not task.process.alive:
            raise GreenletExit
        return task.answer

    def ticket(self) -> tuple[Task, int]:
        """Names the wait that the running task is about to begin, for :meth:`wake`."""
        assert self.current is not None
        return self.current, self.current.token

    def wake(self, ticket: tuple[Task, int], answer: Any = True) -> bool:
        """End a wait; False when it is over already."""
        task, token = ticket
        if task.token != token or task.ended:
            return False
        task.token += 1
        task.answer = answer
        self._ready.append(task)
        return True

    def sleep(self, seconds: float) -> None:
        """Wait so long on the machine's clock."""
        self.block(seconds)

    def give_way(self) -> None:
        """Let others that are ready run, perhaps."""
        task = self.current
        if task is None or self.closing:
            return
        if not task.process.alive:
            raise GreenletExit
        if task.process.fuse:
            self._burn(task.process)
        task.token += 1
        self._ready.append(task)
        self._hub.switch()
        self.leave_if_dead()

    def pass_point(self, _name: str) -> None:
        """A point of ``paddock.failpoints``: a place to die that is no wait."""
        if self.current and self.current.process.fuse:
            self._burn(self.current.process)

    def may_give_way(self) -> None:
        """A point where a native thread might lose its processor."""
        if self.preempt and self.current and self.random.random() < self.preempt:
            self.give_way()

    # --- inside

    def _burn(self, process: Process) -> None:
        process.fuse -= 1
        if not process.fuse:
            process.on_fuse()
            self.kill(process)

    def _live(self, task: Task, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except GreenletExit:
            pass
        except Exception as error:
            self.wrong(f"{task.process.name}: the thread {task.name} died of {error!r}")
        finally:
            task.ended = True
            if not self.closing:
                self._tasks.discard(task)
                for ticket in task.joiners:
                    self.wake(ticket)

    def _step(self) -> None:
        ready = self._ready
        if len(ready) > 1:
            place = int(self.random.random() * len(ready))
            ready[place], ready[-1] = ready[-1], ready[place]
        task = ready.pop()
        process = task.process
        if not process.alive:
            return
        if process.frozen:
            process.held.append(task)
            return
        self.current = task
        self.switches += 1
        assert task.green is not None
        task.green.switch()
        self.current = None

    def _fire(self) -> None:
        moment, _, what, token = heapq.heappop(self._timers)
        self.now = max(self.now, moment)
        if token < 0:
            what()
        elif what.token == token and not what.ended:
            what.token += 1
            self._ready.append(what)
