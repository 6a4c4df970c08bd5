"""What a supervisor does on a real machine: starts a process again when it has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from devstack.broker import BrokerFailed
from devstack.processes import Record
from devstack.say import say

POLL_SECONDS = 0.25


class Keeper:
    """Keeps one process running, unless a fault holds it down.

    :param find: the process, None when it does not run
    :param start: starts it, and may wait until it answers
    """

    def __init__(
        self, name: str, find: Callable[[], Record | None], start: Callable[[], object]
    ) -> None:
        self._name = name
        self._find = find
        self._start = start
        self._holds = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"keep {name}", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopping.set()
        self._thread.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile it is not started."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def hold(self) -> None:
        """Do not start it until :meth:`release`."""
        with self._lock:  # nor is it being started now
            self._holds += 1

    def release(self) -> None:
        """End one :meth:`hold`."""
        self._holds -= 1

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            if self._holds or self._find() is not None:
                continue
            with self._lock:
                if not self._holds:
                    self._try()

    def _try(self) -> None:
        try:
            self._start()
        except (RuntimeError, BrokerFailed, OSError) as error:
            say(f"{self._name} does not start yet: {str(error).splitlines()[0]}")
