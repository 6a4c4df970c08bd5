"""A connection whose requests must come, and whose answers must be taken, within their time."""

from __future__ import annotations

import time
from typing import Any

from waitress.channel import HTTPChannel

from api.request_parser import Refusal, RequestParser

UNREAD = 5
"""So many times as long as a request may take to come, an answer may take to be read."""


class BoundedChannel(HTTPChannel):  # type: ignore[misc]
    """A connection; the server's ``patience`` is how many seconds a request may take to come."""

    parser_class = RequestParser
    request: Any = None
    _began = 0.0
    _written = 0.0

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
        if not self.total_outbufs_len:
            self._written = now
        elif now - self._written > UNREAD * patience:
            self.will_close = True
        if self.request is not None and not self.requests and now - self._began > patience:
            self._give_up(patience)
        return bool(super().readable())

    def _give_up(self, patience: float) -> None:
        with self.requests_lock:
            late = self.request
            if late is None or self.requests:
                return
            late.error = Refusal(408, f"The request must come within {patience:g} s.")
            self.request = None
            self.requests.append(late)
            self.server.add_task(self)
