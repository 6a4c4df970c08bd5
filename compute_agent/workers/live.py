"""Guests that change hosts while they run."""

from __future__ import annotations

from compute_agent.drivers.base import LiveMigratable
from compute_agent.job import Job
from paddock.errors import HypervisorError


def receive(job: Job, driver: LiveMigratable) -> None:
    """Have all here that the guest needs."""
    driver.receive(job.guest, job.order.disk_generation, job.line)


def send(job: Job, driver: LiveMigratable) -> None:
    """Have the guest running on the other host."""
    if job.order.landing is None:
        raise HypervisorError("The order does not say where the guest goes.")
    driver.send(job.guest, job.order.landing, job.launch)


def arrive(job: Job, driver: LiveMigratable) -> None:
    """See that the guest runs here."""
    driver.arrive(job.guest)
