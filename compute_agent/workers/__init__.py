"""One short function per kind of step, over the driver's primitives.

A worker has no state, lock, database, message or ``try``: the runner does all that around it.
Doing it again is harmless, because every primitive looks first and does only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from compute_agent.drivers.base import (
    DiskMover,
    Driver,
    LiveMigratable,
    Pausable,
    Suspendable,
)
from compute_agent.job import Job
from compute_agent.workers import disk, live, power, stillness
from paddock.actions import StepKind
from paddock.errors import Unsupported

C = TypeVar("C")


@dataclass(frozen=True)
class Worker(Generic[C]):
    """A row of the table of workers.

    :ivar needs: what the driver must be able to do
    """

    function: Callable[[Job, C], None]
    needs: type[C]

    def run(self, job: Job, driver: object) -> None:
        """Do the work; Unsupported when the driver cannot."""
        if not isinstance(driver, self.needs):
            raise Unsupported(f"This host cannot {job.order.kind}.")
        self.function(job, driver)


WORKERS: dict[StepKind, Worker[Any]] = {
    StepKind.LAUNCH: Worker(power.launch, Driver),
    StepKind.POWER_OFF: Worker(power.power_off, Driver),
    StepKind.STOP: Worker(power.stop, Driver),
    StepKind.REBOOT: Worker(power.reboot, Driver),
    StepKind.DESTROY: Worker(power.destroy, Driver),
    StepKind.PAUSE: Worker(stillness.pause, Pausable),
    StepKind.UNPAUSE: Worker(stillness.unpause, Pausable),
    StepKind.SUSPEND: Worker(stillness.suspend, Suspendable),
    StepKind.RESUME: Worker(stillness.resume, Suspendable),
    StepKind.FETCH: Worker(disk.fetch, DiskMover),
    StepKind.RECEIVE: Worker(live.receive, LiveMigratable),
    StepKind.SEND: Worker(live.send, LiveMigratable),
    StepKind.ARRIVE: Worker(live.arrive, LiveMigratable),
    StepKind.DISCARD: Worker(disk.discard, Driver),
}
