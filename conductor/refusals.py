"""What was refused to a sender, in the log: an agent that asks for what is not its host's may have
been stolen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from paddock.errors import PaddockError, ServiceUnavailable
from paddock.logs import Rate

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
        self._rate = Rate(LINES, SECONDS, clock)

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
        untold = self._rate.admit(sender)
        if untold is not None:
            more = f" ({untold} more were not logged)" if untold else ""
            rated = {"is_rated": True}
            LOG.warning("Refused to %s: %s%s", sender, text[:LONGEST], more, extra=rated)
