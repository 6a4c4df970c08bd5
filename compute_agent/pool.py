"""A bounded number of threads that work through what is handed to them."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Callable

from paddock.deadline import Deadline

LOG = logging.getLogger(__name__)


class Pool:
    """Threads are made when there is work for them; a hung one never keeps a process alive.

    :param size: functions that run at once; more wait in order
    :param name: for the threads
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._context = contextvars.copy_context()  # not that of who submits first

    def submit(self, function: Callable[[], object]) -> bool:
        """Run the function when a thread is free; False once the pool was stopped."""
        with self._lock:
            if self._closed:
                return False
            self._queue.put(function)
            if len(self._threads) < self._size:
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._begin, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
            return True

    def start(self) -> None:
        """Nothing: threads are made when they are needed."""

    def stop(self, timeout: float) -> None:
        """Take no more, work off what waits, and give up after ``timeout`` seconds."""
        deadline = Deadline.of(timeout)
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            thread.join(deadline.left())

    def _begin(self) -> None:
        self._context.copy().run(self._run)

    def _run(self) -> None:
        while (function := self._queue.get()) is not None:
            try:
                function()
            except Exception:
                LOG.exception("Work in %s failed", self._name)
