"""The connection to libvirt: opened, kept alive, reopened; its events; its errors made ours.

Every call runs in a native thread of its own for which the caller waits a bounded time, so that
a hypervisor that hangs costs one thread and not the agent. Code in such threads and in libvirt's
event loop must neither log nor take locks (see ``paddock.runtime``).
"""

from __future__ import annotations

import collections
import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

import libvirt

from paddock.errors import GuestGone, GuestHung, HypervisorError, PaddockError
from paddock.runtime import Handover, native_thread

T = TypeVar("T")
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 3
SPARES = 8
OPEN_POLL = 0.05


@functools.cache
def start_event_loop() -> None:
    """Have libvirt's event loop in a thread of this process; there is only ever one."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else it prints
    libvirt.virEventRegisterDefaultImpl()
    native_thread(_run_events, "libvirt-events")


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def is_embedded(uri: str) -> bool:
    """Whether libvirt's driver is to run inside this process."""
    return urlsplit(uri).path == "/embed"


class _Opened:
    """What libvirt gave for a URI, and who hears of its domains."""

    def __init__(self, uri: str) -> None:
        self.conn = libvirt.open(uri)
        self.listeners: list[Callable[[Any, int], None]] = []
        # libvirt takes one listener of a kind for each connection.
        kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        self._events = self.conn.domainEventRegisterAny(None, kind, self._tell, None)

    def close(self) -> None:
        """Let go of it."""
        self.forget()
        self.conn.close()

    def forget(self) -> None:
        """Hear no more of it. Lost, it is closed when the last call that still uses it ends."""
        with contextlib.suppress(libvirt.libvirtError):  # a lost one forgets, and fails then
            self.conn.domainEventDeregisterAny(self._events)

    def _tell(self, _conn: Any, domain: Any, event: int, _detail: int, _opaque: object) -> None:
        for listener in tuple(self.listeners):
            listener(domain, event)


EMBEDDED_TURN = collections.deque([True])
"""Taken to open the embedded driver: libvirt crashes when two threads first open it at once."""


@functools.cache
def _open_embedded(uri: str) -> _Opened:
    """A driver in this process stays open until that ends, and can be opened 20 times only."""
    return _Opened(uri)


def translate(error: libvirt.libvirtError) -> HypervisorError:
    """Ours for libvirt's error; its number is in ``kwargs["code"]``."""
    code = error.get_error_code()
    kind = {
        libvirt.VIR_ERR_NO_DOMAIN: GuestGone,
        libvirt.VIR_ERR_OPERATION_TIMEOUT: GuestHung,
    }.get(code, HypervisorError)
    message = str(error.get_error_message() or error).strip().splitlines()
    return kind(f"libvirt: {'; '.join(message)}", code=code)


class Task(Generic[T]):
    """A function that runs in a native thread, and may be left behind there.

    :param function: makes libvirt calls; must neither log nor take locks
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._outcome: tuple[T | None, BaseException | None] | None = None
        self._ended: Handover[bool] = Handover()
        native_thread(self._run, "libvirt-call")

    def done(self, seconds: float) -> bool:
        """Wait so long for the end; whether it came."""
        if self._outcome is None:
            self._ended.get(seconds)
        return self._outcome is not None

    @property
    def ended(self) -> bool:
        """Whether the end has come."""
        return self._outcome is not None

    def result(self, seconds: float) -> T:
        """What the function returned, or raise what it raised, with libvirt's errors made ours.

        :raises GuestHung: it did not end within ``seconds``
        """
        if not self.done(seconds):
            raise GuestHung(f"The hypervisor did not answer within {seconds:g} s.")
        assert self._outcome is not None
        value, error = self._outcome
        if error is not None:
            raise error
        return cast(T, value)

    def _run(self) -> None:
        try:
            self._outcome = (self._function(), None)
        except libvirt.libvirtError as error:
            self._outcome = (None, translate(error))
        except Exception as error:
            self._outcome = (None, error)
        self._ended.put(True)


class Connection:
    """A libvirt that is connected to when it is needed.

    One connection hears of events. Each call has another one for itself, because libvirtd works on
    five calls of a connection at most: five that hang would stop all others and the keep-alive.

    :param uri: libvirt's
    :param seconds: after which a call counts as hung
    :param note: takes a line for the log, from any thread
    """

    def __init__(
        self,
        uri: str,
        seconds: float,
        note: Callable[[str], None],
    ) -> None:
        self.uri = uri
        self.seconds = seconds
        self._note = note
        self._on_event: Callable[[Any], None] | None = None
        self._opened: _Opened | None = None
        self._spares: collections.deque[Any] = collections.deque()
        self._trouble = ""
        # A lock that native threads may use.
        self._may_open = EMBEDDED_TURN if is_embedded(uri) else collections.deque([True])
        start_event_loop()

    def listen(self, on_event: Callable[[Any], None]) -> None:
        """Have ``on_event(domain)`` called in a native thread whenever a domain's state changed."""
        self._on_event = on_event

    def start(self, function: Callable[[Any], T]) -> Task[T]:
        """Start ``function(connection)`` as a task; HypervisorError when there is no connection."""
        conn = self._usable()
        if is_embedded(self.uri):
            return Task(lambda: function(conn))
        return Task(lambda: self._alone(function))

    def call(self, function: Callable[[Any], T], seconds: float | None = None) -> T:
        """``function(connection)``, waited for ``seconds``, else as configured.

        :raises GuestGone: libvirt does not know the domain
        :raises GuestHung: no answer in time
        :raises HypervisorError: anything else that libvirt says
        """
        return self.start(function).result(self.seconds if seconds is None else seconds)

    def close(self) -> None:
        """Let go of libvirt."""
        opened, self._opened = self._opened, None
        self._spares.clear()
        if opened is not None:
            with contextlib.suppress(PaddockError):
                Task(lambda: self._leave(opened)).result(self.seconds)

    def _alone(self, function: Callable[[Any], T]) -> T:
        """Call with a connection that nobody else uses meanwhile."""
        conn = self._spare()
        try:
            return function(conn)
        finally:
            if self._opened is not None and len(self._spares) < SPARES:
                self._spares.append(conn)

    def _spare(self) -> Any:
        while self._spares:
            with contextlib.suppress(IndexError, libvirt.libvirtError):  # taken, or lost
                conn = self._spares.pop()
                if conn.isAlive():
                    return conn
        conn = libvirt.open(self.uri)
        conn.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
        return conn

    def _usable(self) -> Any:
        deadline = time.monotonic() + self.seconds
        while True:
            opened = self._opened
            if opened is not None and opened.conn.isAlive():
                return opened.conn
            if self._take_turn():
                Task(self._open).result(self.seconds)
            elif time.monotonic() > deadline:
                raise GuestHung(f"The hypervisor at {self.uri} does not answer.")
            else:
                time.sleep(OPEN_POLL)

    def _take_turn(self) -> bool:
        try:
            return self._may_open.pop()
        except IndexError:  # somebody else is opening
            return False

    def _open(self) -> None:
        try:
            if self._opened is None or not self._opened.conn.isAlive():
                again = bool(self._trouble or self._opened)
                if self._opened is not None and not is_embedded(self.uri):
                    self._opened.forget()
                self._opened = self._open_anew()
                self._trouble = ""
                self._note(f"{self.uri} is connected{' again' if again else ''}")
        except libvirt.libvirtError as error:
            trouble = translate(error).message
            if trouble != self._trouble:
                self._note(f"{self.uri} cannot be reached: {trouble}")
            self._trouble = trouble
            raise
        finally:
            self._may_open.append(True)

    def _open_anew(self) -> _Opened:
        embedded = is_embedded(self.uri)
        opened = _open_embedded(self.uri) if embedded else _Opened(self.uri)
        opened.listeners.append(self._hear)
        try:
            if not embedded:
                opened.conn.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
        except BaseException:
            # The listener would hold it for ever, with its sockets and threads.
            self._leave(opened)
            raise
        return opened

    def _leave(self, opened: _Opened) -> None:
        opened.listeners.remove(self._hear)
        if not is_embedded(self.uri):
            opened.close()

    def _hear(self, domain: Any, event: int) -> None:
        on_event = self._on_event
        if event != libvirt.VIR_DOMAIN_EVENT_DEFINED and on_event is not None:
            # Asking libvirt from within its event loop could wait for the loop itself.
            Task(lambda: on_event(domain))
