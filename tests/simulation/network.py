"""A bus that loses, doubles and delays, and cables that can be pulled."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from paddock.errors import BusUnavailable, PaddockError
from tests.fixtures.ledger import Clock

T = TypeVar("T")


EXPIRY_SECONDS = 5.0


class Network:
    """Carries calls to the ledger, or not; a late one arrives within a call's timeout or never.

    :ivar kind: False while it loses, doubles and delays nothing
    """

    def __init__(self, clock: Clock, source: random.Random) -> None:
        self._clock = clock
        self._random = source
        self._late: list[tuple[float, Callable[[], object]]] = []
        self.cut: set[str] = set()
        self.rough = True

    def call(self, sender: str, fn: Callable[[], T]) -> T:
        """Make a call; BusUnavailable when it or its answer is lost."""
        if sender in self.cut:
            raise BusUnavailable("cut off")
        fate = self._random.random() if self.rough else 1.0
        if fate < 0.04:
            raise BusUnavailable("lost")
        if fate < 0.08:
            fn()
            raise BusUnavailable("its answer was lost")
        if fate < 0.11:
            self._late.append((self._clock.monotonic, fn))
            raise BusUnavailable("late")
        if fate < 0.14:
            self._late.append((self._clock.monotonic, fn))
        return fn()

    def deliver_late(self) -> bool:
        """Deliver a late or doubled call; nobody hears the answer. False when there is none."""
        if not self._late:
            return False
        sent, fn = self._late.pop(self._random.randrange(len(self._late)))
        if self._clock.monotonic - sent <= EXPIRY_SECONDS:
            with suppress(PaddockError):
                fn()
        return True
