"""``threading``, ``queue`` and ``time`` as simulated processes have them."""

from __future__ import annotations

import collections
import queue as real_queue
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.simulation.scheduler import Process, Scheduler, Task

PATCHED = ("compute_agent", "paddock.service", "paddock.deadline", "conductor.db.session")


class Now:
    """Which scheduler is on; the simulated modules find it here.

    :ivar scheduler: of the schedule that runs in this process
    """

    scheduler: Scheduler


class Lock:
    """A lock without an owner, as ``threading.Lock``."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: collections.deque[tuple[Task, int]] = collections.deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See ``threading``."""
        scheduler = Now.scheduler
        if scheduler.closing:
            return True
        scheduler.may_give_way()
        while self._held:
            if not blocking:
                return False
            self._waiting.append(scheduler.ticket())
            if scheduler.block(None if timeout < 0 else timeout) is None:
                return False
        self._held = True
        return True

    def release(self) -> None:
        """See ``threading``."""
        scheduler = Now.scheduler
        self._held = False
        while self._waiting:
            if scheduler.wake(self._waiting.popleft()):
                return

    def locked(self) -> bool:
        """See ``threading``."""
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition:
    """See ``threading``."""

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = lock or Lock()
        self._waiting: list[tuple[Task, int]] = []
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """See ``threading``."""
        scheduler = Now.scheduler
        self._waiting.append(scheduler.ticket() if scheduler.current else (None, 0))  # type: ignore[arg-type]
        self._lock.release()
        woken = scheduler.block(timeout) is not None
        self._lock.acquire()
        return woken

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """See ``threading``."""
        end = None if timeout is None else Now.scheduler.clock() + timeout
        while not (result := predicate()):
            left = None if end is None else end - Now.scheduler.clock()
            if left is not None and left <= 0:
                return predicate()
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        """See ``threading``."""
        while self._waiting and n:
            n -= Now.scheduler.wake(self._waiting.pop(0))

    def notify_all(self) -> None:
        """See ``threading``."""
        self.notify(len(self._waiting))


class Event:
    """See ``threading``."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[tuple[Task, int]] = []

    def is_set(self) -> bool:
        """See ``threading``."""
        return self._set

    def set(self) -> None:
        """See ``threading``."""
        self._set = True
        for ticket in self._waiting:
            Now.scheduler.wake(ticket)
        self._waiting.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """See ``threading``."""
        if not self._set:
            self._waiting.append(Now.scheduler.ticket())
            Now.scheduler.block(timeout)
        return self._set


class Thread:
    """See ``threading``; it belongs to the process whose task starts it."""

    def __init__(
        self, target: Callable[..., object], args: Any = (), name: str = "", daemon: bool = True,
        kwargs: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._target = target
        self._args = args
        self._kwargs = kwargs or {}
        self.name = name
        self._task: Task | None = None

    def start(self) -> None:
        """See ``threading``."""
        scheduler = Now.scheduler
        self._task = scheduler.spawn(
            scheduler.process, lambda: self._target(*self._args, **self._kwargs), self.name
        )

    def is_alive(self) -> bool:
        """See ``threading``."""
        return self._task is not None and not self._task.ended

    def join(self, timeout: float | None = None) -> None:
        """See ``threading``."""
        if self._task is not None and not self._task.ended:
            self._task.joiners.append(Now.scheduler.ticket())
            Now.scheduler.block(timeout)


class Queue:
    """See ``queue``."""

    def __init__(self, maxsize: int = 0) -> None:
        self._items: collections.deque[Any] = collections.deque()
        self._waiting: collections.deque[tuple[Task, int]] = collections.deque()

    def put(self, item: Any, timeout: float | None = None) -> None:
        """See ``queue``."""
        self._items.append(item)
        while self._waiting:
            if Now.scheduler.wake(self._waiting.popleft()):
                return

    def get(self, timeout: float | None = None) -> Any:
        """See ``queue``."""
        end = None if timeout is None else Now.scheduler.clock() + timeout
        while not self._items:
            left = None if end is None else end - Now.scheduler.clock()
            if left is not None and left <= 0:
                raise real_queue.Empty
            self._waiting.append(Now.scheduler.ticket())
            Now.scheduler.block(left)
        return self._items.popleft()


class Handover:
    """``paddock.runtime.Handover`` without the operating system."""

    def __init__(self) -> None:
        self._queue = Queue()
        self._closed = False

    def put(self, item: Any) -> None:
        """See ``paddock.runtime``."""
        self._queue.put(item)

    def get(self, timeout: float | None = None) -> Any:
        """See ``paddock.runtime``."""
        if self._closed:
            return None
        try:
            return self._queue.get(timeout)
        except real_queue.Empty:
            return None

    def close(self) -> None:
        """See ``paddock.runtime``."""
        self._closed = True
        self._queue.put(None)


def finish_within(function: Callable[[], object], seconds: float, what: str) -> bool:
    """``paddock.runtime.finish_within``."""
    thread = Thread(function, name=what)
    thread.start()
    thread.join(max(seconds, 0.0))
    return not thread.is_alive()


def current_thread() -> object:
    """The running task, which is never equal to a :class:`Thread`."""
    return Now.scheduler.current


THREADING = SimpleNamespace(
    Lock=Lock, Condition=Condition, Event=Event, Thread=Thread, current_thread=current_thread
)
QUEUE = SimpleNamespace(Queue=Queue, Empty=real_queue.Empty, Full=real_queue.Full)
TIME = SimpleNamespace(
    monotonic=lambda: Now.scheduler.clock(),
    time=lambda: Now.scheduler.clock() + 1.9e9,
    sleep=lambda seconds: Now.scheduler.sleep(seconds),
    clock_gettime=lambda _clock: Now.scheduler.clock(),
    CLOCK_BOOTTIME=7,
)
STAND_INS: dict[str, Any] = {
    "threading": THREADING,
    "queue": QUEUE,
    "time": TIME,
    "Handover": Handover,
    "finish_within": finish_within,
}


def modules() -> Iterator[ModuleType]:
    """The modules of the product whose waits are simulated."""
    for name, module in sorted(sys.modules.items()):
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in PATCHED):
            yield module


@contextmanager
def installed() -> Iterator[None]:
    """Let the product wait on the scheduler instead of the operating system."""
    before = [
        (module, name, vars(module)[name])
        for module in modules()
        for name in STAND_INS
        if name in vars(module)
    ]
    for module, name, _ in before:
        setattr(module, name, STAND_INS[name])
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def spawn(process: Process, function: Callable[..., object], name: str, *args: Any) -> Task:
    """Begin a task of a process."""
    return Now.scheduler.spawn(process, function, name, *args)
