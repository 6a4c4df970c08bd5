"""A process role: parts that start in order and stop in the opposite one.

A role's parts are listed from the inside out: connections, workers, timers, RPC servers, HTTP.
So stopping first closes the entrances, then lets work end, and cuts connections last. A service
is itself a part, so that several roles make one process.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from paddock.errors import PaddockError
from paddock.logs import carried
from paddock.runtime import Handover, finish_within

LOG = logging.getLogger(__name__)
STOP_SECONDS = 20.0
EXIT_SECONDS = 5.0
LOOK_SECONDS = 1.0


class Part(Protocol):
    """What a service is made of."""

    def start(self) -> None:
        """Begin; may wait (for the broker), but gives up when :meth:`stop` is called meanwhile."""

    def stop(self, timeout: float) -> None:
        """End within ``timeout`` seconds; harmless before, during and after :meth:`start`."""


class Closing:
    """A part that only has to be closed, which may hang: a database engine, a hypervisor."""

    def __init__(self, close: Callable[[], object]) -> None:
        self._close = close

    def start(self) -> None:
        """Nothing: it is open."""

    def stop(self, timeout: float) -> None:
        """Close it, or leave it behind after ``timeout`` seconds."""
        finish_within(self._close_it, timeout, "closing")

    def _close_it(self) -> None:
        try:
            self._close()
        except Exception:  # nobody is there to raise it to
            LOG.exception("Closing failed")


class Service:
    """One role of a process.

    :param name: for logs and threads
    :param parts: in the order of their start
    """

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name = name
        self._parts = parts
        self._entered: list[Part] = []
        self._stopping = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start every part; when one fails, stop those before it and raise its error."""
        for part in self._parts:
            with self._lock:
                if self._stopping:
                    return
                self._entered.append(part)
            try:
                part.start()
            except Exception:
                self.stop(STOP_SECONDS)
                raise
        LOG.info("%s is running", self.name)

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop the started parts, last first; the parts share ``timeout`` seconds.

        A part that fails to stop is logged and does not keep the others from stopping.
        """
        with self._lock:
            self._stopping = True
            parts, self._entered = self._entered, []
        end = time.monotonic() + timeout
        for part in reversed(parts):
            try:
                part.stop(max(end - time.monotonic(), 0.1))
            except Exception:
                LOG.exception("%s: %s did not stop in order", self.name, type(part).__name__)
        if parts:
            LOG.info("%s has stopped", self.name)


class Timer:
    """Calls a function every so many seconds, in a thread of its own.

    An error is logged and the timer goes on. A late round delays the next, none is made up for.

    :param function: what to call
    :param interval: seconds from the beginning of one round to that of the next
    :param name: for logs and the thread
    :param at_once: whether the first round comes at the start or one interval later
    """

    def __init__(
        self, function: Callable[[], object], interval: float, name: str, *, at_once: bool = True
    ) -> None:
        self._function = function
        self._interval = interval
        self._name = name
        self._due = at_once
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=carried(self._run), name=name, daemon=True)

    def start(self) -> None:
        """Begin the rounds."""
        self._thread.start()

    def kick(self) -> None:
        """Make the next round now, or right after the one that is running."""
        with self._changed:
            self._due = True
            self._changed.notify()

    def stop(self, timeout: float) -> None:
        """Make no more rounds and wait at most ``timeout`` seconds for the running one."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            if self._thread.is_alive():
                LOG.warning("Timer %s is still in a round after %.1f s", self._name, timeout)

    def _run(self) -> None:
        begun = time.monotonic()
        while self._await_round(begun + self._interval):
            begun = time.monotonic()
            try:
                self._function()
            except Exception:
                LOG.exception("Timer %s: a round failed", self._name)

    def _await_round(self, at: float) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._due, max(at - time.monotonic(), 0)
            )
            self._due = False
            return not self._stopping


def run_until_signal(service: Part, timeout: float = STOP_SECONDS) -> int:
    """Run a service until SIGTERM, SIGINT or SIGHUP, in the main thread's name; stop it in order.

    A second signal ends the process at once. The process must end soon after this returns: threads
    that hang are not waited for longer than a few seconds.

    :param timeout: seconds that stopping may take
    :returns: exit status: 0 after a signal, 1 when the service failed to start (it is logged)
    """
    news: Handover[int] = Handover()
    asked = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the last one of a supervisor's reload
    numbers = [one for one in asked if signal.getsignal(one) is not signal.SIG_IGN]

    def note(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        news.put(0)

    def start() -> None:
        try:
            service.start()
        except PaddockError as error:
            LOG.error("The service cannot start: %s", error)
            news.put(1)
        except Exception:
            LOG.exception("The service failed to start")
            news.put(1)

    before = {number: signal.signal(number, note) for number in numbers}
    threading.Thread(target=start, name="start", daemon=True).start()
    status = None
    while status is None:  # a signal that comes right before the wait does not end it
        status = news.get(LOOK_SECONDS)
    service.stop(timeout)
    for number, handler in before.items():
        signal.signal(number, handler)
    # Libraries join their threads at exit, also one that hangs in a hypervisor's call.
    last_resort = threading.Timer(EXIT_SECONDS, os._exit, [status])
    last_resort.daemon = True
    last_resort.start()
    return status
