"""What a worker gets: one attempt of one step, and its line to the runner."""

from __future__ import annotations

from dataclasses import dataclass

from compute_agent.drivers.base import Launch, Work
from compute_agent.lease import now
from paddock.errors import WorkCancelled
from paddock.records import GuestSpec, LiveStep, WorkOrder


@dataclass(frozen=True)
class Job:
    """All that a worker needs beside the driver.

    :ivar shutdown_wait: seconds that a guest has to shut down
    """

    order: WorkOrder
    launch: Launch
    line: Work
    shutdown_wait: float

    @property
    def guest(self) -> GuestSpec:
        """The guest that the work is about."""
        return self.order.guest

    @property
    def instance_id(self) -> str:
        """The guest's id."""
        return self.order.guest.id


class Task:
    """An attempt of a step that this agent has taken on.

    A driver calls :meth:`check` and :meth:`note` from a native thread, so this takes no locks.

    :ivar started_at: when start was answered, on the lease's clock; None before
    :ivar about: what log records about it say
    :ivar holds: whether it counts as held: its instance's slot is taken for it, or needs not be
    """

    def __init__(self, step: LiveStep) -> None:
        self.step = step
        self.started_at: float | None = None
        self.about = {"step_id": step.step_id, "instance_id": step.instance_id}
        self.holds = False
        self._cancelled = ""
        self._deadline = float("inf")
        self._seconds = 0.0
        self._progress = (0, 0)
        self._told = (0, 0)

    @property
    def key(self) -> tuple[str, int]:
        """Tells attempts apart."""
        return self.step.step_id, self.step.attempt

    def begin(self, order: WorkOrder) -> None:
        """Start was answered; from now on the work's time runs."""
        self.started_at = now()
        self.about |= {"request_id": order.request_id, "action_id": order.action_id}
        self._seconds = order.seconds
        self._deadline = self.started_at + order.seconds

    def cancel(self, reason: str) -> None:
        """Let the worker stop at its next check."""
        self._cancelled = self._cancelled or reason

    def check(self) -> None:
        """Raise WorkCancelled when the work must stop."""
        if self._cancelled:
            raise WorkCancelled(self._cancelled)
        if now() > self._deadline:
            raise WorkCancelled(f"The step did not end within {self._seconds:.0f} seconds.")

    def note(self, done: int, total: int) -> None:
        """Keep how many bytes are done."""
        self._progress = (done, total)

    def news(self) -> tuple[int, int] | None:
        """(done, total) in bytes when more is done than was told."""
        progress = self._progress
        return progress if progress[0] > self._told[0] else None

    def told(self, progress: tuple[int, int]) -> None:
        """The conductor took that progress, which moves the deadline."""
        self._told = progress
        self._deadline = now() + self._seconds
