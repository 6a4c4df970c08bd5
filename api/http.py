"""The HTTP server: buffers slow clients, answers broken requests in our format, stops in order."""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import waitress.server
from waitress.task import ErrorTask, WSGITask

from api import faults
from api.channel import BoundedChannel
from api.request_parser import Refusal
from api.tls import TlsChannel
from paddock.errors import BadRequest, PaddockError, TooLarge

LOG = logging.getLogger(__name__)
LARGEST_HEADERS = 65536
SMALLEST_BUFFER = 1 << 18
POLL_SECONDS = 0.02
LOOP_SECONDS = 1.0
IDLE = 2
"""So many times as long as a request may take to come, a connection may be idle."""
MOST_CONNECTIONS = 800
"""Below the 1,024 files that a process may have open where nobody raises that."""
MOST_UNREAD = 1 << 22
"""Bytes of answers that may wait for a client whose connection is used again. The library lets a
thread wait for the client where there are 16 MiB; so much never comes together then."""
QUIET_SECONDS = 0.5
"""A connection that was used so recently may have a request on its way."""


class _FaultTask(ErrorTask):  # type: ignore[misc]
    """Answers what is no HTTP request, or too large to be read, as the application would."""

    def execute(self) -> None:
        found = self.request.error
        sent = self.request.headers
        as_xml = faults.wants_xml(sent.get("ACCEPT"), sent.get("CONTENT_TYPE"))
        body, content_type = faults.render(_as_ours(found, self.channel.adj), "", as_xml)
        self.status = f"{found.code} {found.reason}"
        request_id = f"req-{uuid.uuid4()}"
        self.response_headers += [
            ("Content-Type", content_type),
            ("X-Openstack-Request-Id", request_id),
            ("X-Compute-Request-Id", request_id),
        ]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _HeadersTooLarge(TooLarge):
    status = 431


class _UrlTooLong(TooLarge):
    status = 414


class _TooLate(BadRequest):
    status = 408


_KINDS = {408: _TooLate, 414: _UrlTooLong, 431: _HeadersTooLarge}


def _as_ours(found: Any, limits: Any) -> PaddockError:
    code = found.code
    if isinstance(found, Refusal):
        return _KINDS.get(code, BadRequest)(found.body)
    if code == 413:
        return TooLarge(f"The body must be shorter than {limits.max_request_body_size} bytes.")
    if code == 431:
        return _HeadersTooLarge(
            f"URL and headers must be shorter than {limits.max_request_header_size} bytes."
        )
    if code >= 500 and code != 501:
        return PaddockError()
    return BadRequest("The request is not well-formed HTTP.")


class _Task(WSGITask):  # type: ignore[misc]
    """Tells clients not to use the connection again once the entrance is closed, or when much is
    left for them to read: further requests that they have sent then get no answer."""

    def build_response_header(self) -> bytes:
        unread = self.channel.total_outbufs_len + (self.content_length or 0)
        if not self.channel.server.accepting or unread > MOST_UNREAD:
            self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header


class _Channel(BoundedChannel):
    task_class = _Task
    error_task_class = _FaultTask

    def is_busy(self) -> bool:
        """Whether somebody waits for an answer here, or might."""
        used = time.time() - self.last_activity < QUIET_SECONDS
        return bool(used or self.requests or self.total_outbufs_len)


class _TlsChannel(TlsChannel, _Channel):
    pass


class HttpServer:
    """A part of the service that serves a WSGI application.

    :param entrance: gives the socket that it listens on
    :param longest: bytes of a body that the application reads; a few more are taken off the
        network, so that it can say what is wrong
    :param patience: seconds within which a request must have come; a connection may be idle twice
        as long
    :param tls: what connections are encrypted with; plain HTTP when left out
    """

    def __init__(
        self,
        app: Callable[..., Any],
        entrance: Callable[[], socket.socket],
        threads: int,
        longest: int,
        tls: ssl.SSLContext | None = None,
        patience: float = 60.0,
    ) -> None:
        self._app = app
        self._entrance = entrance
        self._threads = threads
        self._tls = tls
        self._patience = patience
        self._scheme = "https" if tls else "http"
        self._buffered = max(2 * longest, SMALLEST_BUFFER)
        self._server: Any = None
        self._loop = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return int(self._server.effective_port)

    def start(self) -> None:
        """Listen.

        :raises OSError: the address is taken or not ours
        """
        self._server = waitress.server.create_server(
            self._app,
            sockets=[self._entrance()],
            threads=self._threads,
            ident=None,
            url_scheme=self._scheme,
            clear_untrusted_proxy_headers=False,  # ClientAddresses knows whom to believe
            max_request_header_size=LARGEST_HEADERS,
            max_request_body_size=self._buffered,
            channel_timeout=IDLE * self._patience,
            cleanup_interval=self._patience / IDLE,
            connection_limit=MOST_CONNECTIONS,
            asyncore_use_poll=hasattr(select, "poll"),
            asyncore_loop_timeout=LOOP_SECONDS,
        )
        self._server.patience = self._patience
        self._server.tls = self._tls
        self._server.channel_class = _TlsChannel if self._tls else _Channel
        self._one_writer(self._server.trigger)
        self._loop.start()
        LOG.info("Listening on %s://%s:%d", self._scheme, self._server.effective_host, self.port)

    def stop(self, timeout: float) -> None:
        """Take no more connections, let requests end for ``timeout`` seconds, close the rest."""
        if self._server is None or not self._loop.is_alive():
            return
        end = time.monotonic() + timeout
        self._in_loop(self._close_entrance)
        while time.monotonic() < end - LOOP_SECONDS and self._is_busy():
            time.sleep(POLL_SECONDS)
        self._in_loop(self._end_loop)
        self._loop.join(max(end - time.monotonic(), LOOP_SECONDS))
        tasks = self._server.task_dispatcher
        tasks.shutdown(timeout=max(end - time.monotonic(), LOOP_SECONDS))
        if not tasks.threads:
            self._server.trigger.close()

    @staticmethod
    def _one_writer(trigger: Any) -> None:
        """Let threads wake the loop one after the other: two green threads that write to one
        file descriptor at the same time are an error."""
        lock = threading.Lock()
        pull = trigger._physical_pull

        def pull_alone() -> None:
            with lock:
                pull()

        trigger._physical_pull = pull_alone

    def _run(self) -> None:
        self._server.run()

    def _in_loop(self, function: Callable[[], object]) -> None:
        self._server.trigger.pull_trigger(function)

    def _close_entrance(self) -> None:
        self._server.accepting = False
        self._server.del_channel()
        self._server.socket.close()

    def _end_loop(self) -> None:
        """Close all connections. The trigger stays open: a request that hangs still writes to it,
        and its file descriptor must not have become another one's by then."""
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.trigger.del_channel()

    def _is_busy(self) -> bool:
        tasks = self._server.task_dispatcher
        channels = list(self._server.active_channels.values())
        return bool(
            tasks.queue or tasks.active_count or any(channel.is_busy() for channel in channels)
        )
