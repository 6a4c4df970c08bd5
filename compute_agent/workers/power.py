"""Guests that begin, end and begin again."""

from __future__ import annotations

from compute_agent.drivers.base import Driver
from compute_agent.job import Job


def launch(job: Job, driver: Driver) -> None:
    """Have the guest running from its disk."""
    driver.launch(job.guest, job.launch)


def stop(job: Job, driver: Driver) -> None:
    """Have the guest shut down, by force in the end; its domain may stay."""
    driver.shut_down(job.instance_id, job.shutdown_wait, job.line)


def power_off(job: Job, driver: Driver) -> None:
    """Have the guest shut down and hold nothing on this host but its disk."""
    driver.shut_down(job.instance_id, job.shutdown_wait, job.line)
    driver.release(job.guest.id)


def reboot(job: Job, driver: Driver) -> None:
    """Shut down and launch: a ``SOFT`` one asks the guest first, a ``HARD`` one does not.

    A guest that runs by this very action was rebooted by an attempt before this one.
    """
    if driver.launched_by(job.instance_id) != job.order.action_id:
        wait = job.shutdown_wait if job.order.params.get("type") == "SOFT" else 0.0
        driver.shut_down(job.instance_id, wait, job.line)
    driver.launch(job.guest, job.launch)


def destroy(job: Job, driver: Driver) -> None:
    """Remove the guest, its disks and files."""
    driver.destroy(job.instance_id, None)
