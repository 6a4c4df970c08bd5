"""How long it may take until all is well."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_SECONDS = 0.5


class Patience:
    """Begins when the last fault was healed.

    :param seconds: within which all must be well
    :ivar settled: seconds after which nothing was seen to be wrong any more
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._begun = clock()
        self._end = self._begun + seconds
        self.settled = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(self._end - self._clock(), 0.0)

    def extend(self, seconds: float) -> None:
        """All may take so many seconds from now."""
        self._end = max(self._end, self._clock() + seconds)

    def until_well(self, look: Callable[[], list[str]]) -> list[str]:
        """Look until nothing is wrong any more; gives what is at the end.

        Until now something went on: the last requests. A look takes seconds, and what it finds was
        so when it began.
        """
        self.settled = self._clock() - self._begun
        while True:
            looked = self._clock()
            if not (found := look()):
                return self._judge()
            self.settled = looked - self._begun
            if looked > self._end:
                return found
            self._sleep(POLL_SECONDS)

    def _judge(self) -> list[str]:
        promised = self._end - self._begun
        if self.settled <= promised:
            return []
        return [
            f"something went on until {self.settled:.1f} s after the last fault was healed, "
            f"and {promised:.1f} s are promised"
        ]
