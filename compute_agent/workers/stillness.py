"""Guests that stand still: in memory (paused), or on disk (suspended)."""

from __future__ import annotations

from compute_agent.drivers.base import Pausable, Suspendable
from compute_agent.job import Job


def pause(job: Job, driver: Pausable) -> None:
    """Stop the guest's processors."""
    driver.pause(job.instance_id)


def unpause(job: Job, driver: Pausable) -> None:
    """Let the guest's processors go on."""
    driver.unpause(job.instance_id)


def suspend(job: Job, driver: Suspendable) -> None:
    """Store the guest's memory on disk and free it."""
    driver.suspend(job.instance_id, job.line)


def resume(job: Job, driver: Suspendable) -> None:
    """Let the guest go on from its stored memory."""
    driver.resume(job.guest, job.launch)
