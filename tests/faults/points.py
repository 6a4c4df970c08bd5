"""Processes that crash, hang or fail exactly where it hurts."""

from __future__ import annotations

from devstack.processes import wait_until
from paddock.failpoints import HIT
from tests.faults.fault import AGENTS, CONDUCTOR_PROCESSES, OfProcess

SHORTEST = 20.0
"""Within so many seconds some client has asked for what leads there."""


class _Point(OfProcess):
    """A failpoint that is armed until it is hit or its time is over.

    :cvar points: names of failpoints
    :cvar longest: seconds that it stays armed, SHORTEST at least
    """

    points: tuple[str, ...] = ()
    usual = 0.0
    longest = 60.0

    def _hit(self) -> None:
        self._point = self.chance.choice(self.points)
        self._armed = self.cloud.failpoints(self.subject) / self._point
        self._armed.with_name(self._point + HIT).unlink(missing_ok=True)
        self._armed.write_text(self.what())
        self.detail = f"{self._point} {self.what()}"
        hit = self._armed.with_name(self._point + HIT)
        wait_until(hit.exists, max(self.cloud.pace.seconds(self.longest), SHORTEST))

    def what(self) -> str:
        """What happens there."""
        return "crash"

    def heal(self) -> None:
        self.missed = not self._armed.with_name(self._point + HIT).exists()
        self._armed.unlink(missing_ok=True)
        self.detail += ": not hit" if self.missed else ": hit"
        super().heal()


class CrashAgentAtPoint(_Point):
    """An agent crashes after start, before it launches, in a disk's making or move, at its end."""

    subjects = AGENTS
    points = (
        "runner.started",
        "runner.launching",
        "disk.copying",
        "disk.moving",
        "runner.before-finish",
        "runner.finished",
    )


class HangAgentAtPoint(_Point):
    """A worker of an agent stands still at such a point, for longer than the lease."""

    subjects = AGENTS
    points = CrashAgentAtPoint.points

    def what(self) -> str:
        return f"hang {self.cloud.pace.seconds(20.0) + 2.0:g}"


class FailAgentAtPoint(_Point):
    """A worker of an agent breaks at such a point."""

    subjects = AGENTS
    points = CrashAgentAtPoint.points

    def what(self) -> str:
        return "error"


class CrashConductorAtPoint(_Point):
    """A conductor crashes after a commit, before its answer or its hint."""

    subjects = CONDUCTOR_PROCESSES
    points = ("ledger.committed", "ledger.accepted", "ledger.before-hint")


class HangConductorAtPoint(_Point):
    """A call to a conductor is answered long after its commit, when nobody waits any more."""

    subjects = CONDUCTOR_PROCESSES
    points = CrashConductorAtPoint.points

    def what(self) -> str:
        return f"hang {self.cloud.pace.seconds(20.0) + 2.0:g}"


class CrashApiAtPoint(_Point):
    """The API crashes after a request was accepted, before its hint and its answer."""

    subjects = ("api",)
    points = ("api.before-hint",)
