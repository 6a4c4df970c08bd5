"""How long this host may launch guests without a word from the conductor."""

from __future__ import annotations

import time
from collections.abc import Callable

from paddock.errors import LaunchBarred


def now() -> float:
    """Seconds on this host's own clock, which goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Runs on this host's own clock from the sending of the last answered heartbeat.

    Once it lapsed, nothing is launched or started until the host has reconciled; it begins so.
    Reading takes no lock, so that drivers' native threads may ask.

    :param seconds: how long a heartbeat lasts
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = now) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = float("-inf")
        self._reconciled = -1
        self.lapses = 0

    def renew(self, sent_at: float) -> bool:
        """Take note of an answered heartbeat.

        :param sent_at: when it was sent, on this object's clock
        :returns: whether the lease had lapsed before, so that the host must reconcile
        """
        lapsed = self._clock() > self._until
        if lapsed:
            self.lapses += 1
        self._until = sent_at + self._seconds
        return lapsed

    def reconciled(self, lapses: int) -> None:
        """The host has reconciled.

        :param lapses: :attr:`lapses` when that began; a lapse since then keeps the lease closed
        """
        self._reconciled = lapses

    def is_open(self) -> bool:
        """Whether the host has reconciled since the last lapse; it must as long as it has not."""
        return self._reconciled == self.lapses

    def end(self) -> None:
        """Close it for good: another process speaks for the host."""
        self._seconds = float("-inf")
        self._until = float("-inf")

    def is_valid(self) -> bool:
        """Whether steps may start and guests may be launched."""
        return self.is_open() and self._clock() <= self._until

    def may_launch(self) -> None:
        """Raise LaunchBarred unless guests may be launched now."""
        if not self.is_valid():
            raise LaunchBarred("The host has lost touch with the conductor and may not launch.")
