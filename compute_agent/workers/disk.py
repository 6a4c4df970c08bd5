"""Disks that change hosts."""

from __future__ import annotations

from compute_agent.drivers.base import DiskMover, Driver
from compute_agent.job import Job
from paddock.errors import HypervisorError


def fetch(job: Job, driver: DiskMover) -> None:
    """Have a verified copy of the guest's disk here."""
    if job.order.source is None:
        raise HypervisorError("The order does not say where the disk lies.")
    driver.fetch(job.guest, job.order.source, job.order.disk_generation, job.line)


def discard(job: Job, driver: Driver) -> None:
    """Remove the old copy of a disk that is elsewhere now, and all that is older."""
    driver.destroy(job.instance_id, job.order.disk_generation + 1)
