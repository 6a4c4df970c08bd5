"""A connection whose requests must come, and whose answers must be taken, within their time."""

from __future__ import annotations

import math
import time
from typing import Any

from waitress.channel import HTTPChannel

from api.request_parser import Refusal, RequestParser

STEP = 65536
UNTAKEN = 5
"""A client must take so many bytes of an answer, or the rest of it, in so many times what a request
may take; the system's own buffers hold some megabytes, which go in large pieces."""


class BoundedChannel(HTTPChannel):  # type: ignore[misc]
    """A connection; the server's ``patience`` is how many seconds a request may take to come, and
    a piece of an answer to be taken."""

    parser_class = RequestParser
    request: Any = None
    _began = 0.0
    _left = 0
    _moved = 0.0

    def received(self, data: bytes) -> bool:
        """Take bytes; note when a request began."""
        before = self.request
        taken = bool(super().received(data))
        if self.request is not before:
            self._began = time.monotonic()
        return taken

    def readable(self) -> bool:
        """Whether more may come; the loop asks in each of its rounds, so time is looked at here."""
        now, patience = time.monotonic(), self.server.patience
        if self._is_taken():
            self._left, self._moved = self.total_outbufs_len, now
        if self.total_outbufs_len:
            self.last_activity = time.time()  # what has yet to be taken is no idle connection
            if now - self._moved > UNTAKEN * patience:
                self._let_go()
        if self.request is not None and not self.requests and now - self._began > patience:
            self._give_up(patience)
        return bool(super().readable())

    def _is_taken(self) -> bool:
        """Whether the client takes its answer: some of it went, or more of it is there."""
        left = self.total_outbufs_len
        return not left or left > self._left or left <= self._left - STEP

    def _let_go(self) -> None:
        """Close; what ``will_close`` closes must be writable, as it is not while nothing is taken.
        Not at once, since the loop that asked is about to wait for this connection, too."""
        self._moved = math.inf
        self.server.trigger.pull_trigger(self.handle_close)

    def _give_up(self, patience: float) -> None:
        with self.requests_lock:
            late = self.request
            if late is None or self.requests:
                return
            late.error = Refusal(408, f"The request must come within {patience:g} s.")
            self.request = None
            self.requests.append(late)
            self.server.add_task(self)
