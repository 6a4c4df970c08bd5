"""How many may be served at once, so that one address cannot keep the others out."""

from __future__ import annotations

import threading
from collections import Counter


class Room:
    """Places for connections.

    :param most: in all
    :param each: from one address
    """

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Take a place, if there is one for this address."""
        with self._lock:
            if self._taken[address] >= self._each or self._taken.total() >= self._most:
                return False
            self._taken[address] += 1
            return True

    def leave(self, address: str) -> None:
        """Give a place back."""
        with self._lock:
            self._taken -= Counter({address: 1})  # which also forgets addresses that have none
