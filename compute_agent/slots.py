"""One worker per instance, and the bar against launches of what is being deleted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from paddock.errors import LaunchBarred

T = TypeVar("T")


class Slots(Generic[T]):
    """Each instance's slot: one owner, and others who wait behind it in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, T] = {}
        self._waiting: dict[str, deque[tuple[T, Callable[[], object]]]] = {}
        self._bars: dict[str, int] = {}

    def take(self, instance_id: str, owner: T) -> bool:
        """Take the slot if it is free."""
        with self._lock:
            return self._owners.setdefault(instance_id, owner) is owner

    def enter(self, instance_id: str, owner: T, go: Callable[[], object]) -> None:
        """Take the slot and call ``go``: at once if it is free, else when its turn comes."""
        with self._lock:
            if self._owners.setdefault(instance_id, owner) is not owner:
                self._waiting.setdefault(instance_id, deque()).append((owner, go))
                return
        go()

    def leave(self, instance_id: str, owner: T) -> None:
        """Give the slot up; the next in line, if any, has it now and goes."""
        with self._lock:
            if self._owners.get(instance_id) is not owner:
                return
            del self._owners[instance_id]
            line = self._waiting.get(instance_id)
            if not line:
                self._lift(instance_id)
                return
            self._owners[instance_id], go = line.popleft()
            if not line:
                del self._waiting[instance_id]
        go()

    def owner(self, instance_id: str) -> T | None:
        """Who has the slot."""
        return self._owners.get(instance_id)

    def taken(self) -> set[str]:
        """The instances whose slot has an owner now."""
        with self._lock:
            return set(self._owners)

    @contextmanager
    def barred(self, instance_id: str) -> Iterator[T | None]:
        """Forbid launches of the instance; gives the slot's owner.

        The bar stays afterwards until that owner has left the slot.
        """
        with self._lock:
            self._bars[instance_id] = self._bars.get(instance_id, 0) + 1
            owner = self._owners.get(instance_id)
        try:
            yield owner
        finally:
            with self._lock:
                self._bars[instance_id] -= 1
                self._lift(instance_id)

    def is_barred(self, instance_id: str) -> bool:
        """Whether launches are forbidden; takes no lock."""
        return instance_id in self._bars

    def may_launch(self, instance_id: str) -> None:
        """Raise LaunchBarred when the instance is being deleted; takes no lock."""
        if self.is_barred(instance_id):
            raise LaunchBarred("The instance is being deleted.")

    def _lift(self, instance_id: str) -> None:
        if self._bars.get(instance_id) == 0 and instance_id not in self._owners:
            del self._bars[instance_id]
