"""What was refused to a sender, in the log: an agent that asks for what is not its host's may have
been stolen."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from paddock.errors import PaddockError, ServiceUnavailable

LOG = logging.getLogger(__name__)
LINES = 20
SECONDS = 60.0
"""So many lines in so many seconds about one sender; the next line says how many were left out."""
LONGEST = 300


class Refusals:
    """Logs what was refused; one sender cannot fill the log, nor hide what is refused to others.

    :param clock: a monotonic clock, seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[float, int]] = {}

    @contextmanager
    def watch(self, ctxt: dict[str, Any], method: str) -> Iterator[None]:
        """Log the error that ends a call of this method, unless it only came at a bad time."""
        try:
            yield
        except ServiceUnavailable:
            raise
        except PaddockError as error:
            self.note(ctxt, f"{method}: {error.message}")
            raise

    def note(self, ctxt: dict[str, Any], text: str) -> None:
        """Log that something was refused to a message's sender.

        :param ctxt: the message's context, with the broker's word for the sender
        """
        sender = str(ctxt.get("auth_user"))
        untold = self._count(sender)
        if untold is not None:
            more = f" ({untold} more were not logged)" if untold else ""
            LOG.warning("Refused to %s: %s%s", sender, text[:LONGEST], more)

    def _count(self, sender: str) -> int | None:
        """How many were not logged before this one; None when this one is not either."""
        now = self._clock()
        with self._lock:
            since, count = self._counts.get(sender, (now, 0))
            untold = max(count - LINES, 0)
            if now - since >= SECONDS:
                since, count = now, 0
            elif count >= LINES:
                self._counts[sender] = since, count + 1
                return None
            else:
                untold = 0
            self._counts[sender] = since, count + 1
            return untold
