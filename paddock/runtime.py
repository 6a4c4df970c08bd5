"""How a process does several things at once: native threads, or green threads under eventlet.

:func:`choose` must run before anything else is imported, because importing oslo.messaging fixes
the choice. All other code uses ``threading`` and ``queue`` as usual and works under both; only
what must not stop the green threads, or must run outside them, needs the functions here.
"""

from __future__ import annotations

import collections
import logging
import os
import selectors
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

LOG = logging.getLogger(__name__)
VARIABLE = "PADDOCK_CONCURRENCY"
THREADING = "threading"
EVENTLET = "eventlet"

T = TypeVar("T")


def choose() -> str:
    """Fix the backend named by the environment, ``threading`` when none is. Harmless to repeat.

    :returns: the backend's name
    :raises ValueError: the variable names another backend
    """
    name = os.environ.get(VARIABLE) or THREADING
    if name not in (THREADING, EVENTLET):
        raise ValueError(f"{VARIABLE} must be {THREADING} or {EVENTLET}, not {name!r}")
    if name == EVENTLET:
        _patch()
    else:
        # Libraries try to import eventlet; refused, they take less time and memory.
        sys.modules.setdefault("eventlet", None)  # type: ignore[arg-type]
    from oslo_service import backend

    backend.init_backend(backend.BackendType(name))
    return name


def _patch() -> None:
    os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")  # it ignores nsswitch.conf
    os.environ.setdefault("PSYCOPG_WAIT_FUNC", "wait_selector")  # its own waits inside C
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet

    eventlet.monkey_patch()


def is_green() -> bool:
    """Whether this process runs green threads."""
    eventlet = sys.modules.get("eventlet")
    return eventlet is not None and bool(eventlet.patcher.is_monkey_patched("thread"))


def run_blocking(function: Callable[..., T], *args: Any) -> T:
    """Call what blocks inside C (libvirt) without stopping the other green threads.

    The function runs in a native thread under eventlet: it must neither log nor touch locks or
    queues made outside of it.

    :returns: what the function returns; what it raises is raised here
    """
    if not is_green():
        return function(*args)
    from eventlet import tpool

    result: T = tpool.execute(function, *args)
    return result


def native_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread of the operating system's under both backends.

    Under eventlet its code may use only :meth:`Handover.put` to reach everything else.
    """
    maker = threading
    if is_green():
        from eventlet import patcher

        maker = patcher.original("threading")
    thread = maker.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def finish_within(function: Callable[[], object], seconds: float, what: str) -> bool:
    """Run what may hang (closing a connection to a lost peer) and wait for it so long.

    :returns: whether it ended; if not, it goes on in a daemon thread and a warning is logged
    """
    thread = threading.Thread(target=function, name=what, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.0))
    if thread.is_alive():
        LOG.warning("%s did not end within %.1f s", what, seconds)
    return not thread.is_alive()


class Handover(Generic[T]):
    """A queue from native threads, signal handlers and library callbacks to one reader.

    ``put`` takes no lock and may be called from anywhere; ``get`` belongs to one thread, green or
    native. Closed, it wakes the reader for good.
    """

    def __init__(self) -> None:
        self._items: collections.deque[T] = collections.deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False

    def put(self, item: T) -> None:
        """Append an item and wake the reader; after :meth:`close` it is dropped."""
        if not self._closed:
            self._items.append(item)
        self._wake()

    def get(self, timeout: float | None = None) -> T | None:
        """The oldest item, or None after ``timeout`` seconds or when closed and empty."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._items and not self._closed:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._sleep(left)
        return self._items.popleft() if self._items else None

    def close(self) -> None:
        """Let the reader go; items already there can still be read."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self._event, 1)

    def _sleep(self, timeout: float | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._event, selectors.EVENT_READ)
            if selector.select(timeout):
                os.eventfd_read(self._event)

    def __del__(self) -> None:
        os.close(self._event)
