"""A timeout that several waits share."""

from __future__ import annotations

import time


class Deadline(float):
    """Seconds that a whole piece of work may take, counted from the making of this object.

    Being a number, it passes through libraries that know only durations.
    """

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    @classmethod
    def of(cls, seconds: float) -> Deadline:
        """The same if it is one already, else a new one."""
        return seconds if isinstance(seconds, Deadline) else cls(seconds)

    def left(self) -> float:
        """The seconds that remain, 0 when none do."""
        return max(self.at - time.monotonic(), 0.0)
