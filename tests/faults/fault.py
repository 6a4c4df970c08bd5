"""What a fault is: something that happens to one part of the cloud, and ends."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

from devstack.control_plane import CONDUCTORS
from tests.faults.cloud import FaultCloud
from tests.faults.history import Event

AGENTS = ("compute-h1", "compute-h2", "compute-h3")
CONDUCTOR_PROCESSES = tuple(f"conductor-{name}" for name in CONDUCTORS)
HOSTS = ("h1", "h2", "h3")


class Fault(ABC):
    """One fault, made anew each time that it happens.

    :param chance: decides what the fault leaves open; the same for the same seed
    :cvar subjects: the parts that it may happen to
    :cvar usual: seconds that it lasts; 0 for what is over at once
    :cvar drivers: with which it can be made
    :cvar lasting: healed only when the cloud has settled without the part
    :ivar detail: what was chosen, for the history
    :ivar missed: whether it had no effect: what it was to hit was not there
    """

    subjects: Sequence[str] = ()
    usual = 0.0
    drivers: Sequence[str] = ("fake", "libvirt")
    lasting = False

    def __init__(self, cloud: FaultCloud, subject: str, chance: random.Random) -> None:
        self.cloud = cloud
        self.subject = subject
        self.chance = chance
        self.detail = ""
        self.missed = False
        self.event: Event | None = None

    @property
    def name(self) -> str:
        """The fault's name: its class's."""
        return type(self).__name__

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.cloud.pace.seconds(self.usual) if self.usual else 0.0

    @property
    def part(self) -> str:
        """What it happens to: a host with all that is on it, or another part."""
        return self.subject.removeprefix("compute-")

    @property
    def parts(self) -> frozenset[str]:
        """What it happens to or needs; of each there is one fault at a time."""
        return frozenset({self.part})

    @abstractmethod
    def inject(self) -> None:
        """Let it happen."""

    def heal(self) -> None:  # noqa: B027 (many are over at once)
        """End it, and wait until the part is back."""


class OfProcess(Fault):
    """A fault of one process, which the cloud starts again afterwards.

    :cvar down: whether it stays down for the fault's time
    """

    down = False

    def inject(self) -> None:
        self.missed = self.cloud.process(self.subject) is None
        if self.down:
            self.cloud.keepers[self.subject].hold()
        self._hit()

    def heal(self) -> None:
        if self.down:
            self.cloud.keepers[self.subject].release()
        if not self.cloud.await_running(self.subject):
            raise RuntimeError(f"{self.subject} was not started again")

    @abstractmethod
    def _hit(self) -> None: ...
