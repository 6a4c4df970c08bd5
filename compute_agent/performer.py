"""Calls the worker of a step and makes an outcome of whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from oslo_config import cfg

from compute_agent.drivers.base import Driver, Launch, Work
from compute_agent.epoch import Identity
from compute_agent.job import Job, Task
from compute_agent.lease import Lease
from compute_agent.memory import Known, LastActions
from compute_agent.slots import Slots
from compute_agent.workers import WORKERS
from paddock import failpoints
from paddock.actions import CLEANING, Seen, StepKind
from paddock.errors import GuestHung, HypervisorError, PaddockError
from paddock.records import Outcome, StepRef, WorkOrder

LOG = logging.getLogger(__name__)
T = TypeVar("T")


class Performer:
    """Does steps that were started.

    :param slots: holds the bars against launches
    :param memory: learns which action an instance's is
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        identity: Identity,
        driver: Driver,
        slots: Slots[object],
        lease: Lease,
        memory: LastActions,
    ) -> None:
        self._shutdown_wait: float = conf.compute.shutdown_wait
        self._identity = identity
        self._driver = driver
        self._slots = slots
        self._lease = lease
        self._memory = memory

    def perform(self, task: Task, order: WorkOrder, ref: StepRef) -> Outcome:
        """Do the work. Errors become the outcome's; an unknown one is logged with its trace."""
        LOG.info("The step %s begins", order.kind, extra=task.about)
        error = self._attempt(task, order)
        if order.kind is not StepKind.DESTROY and self._slots.is_barred(order.guest.id):
            self._sweep(order.guest.id)
        seen = self._look(order.guest.id) if _is_told(order, error) else None
        if error and order.guest.image is not None and seen is Seen.GONE:
            # A create that failed is on no host any more: nobody would ask for its clean-up.
            self._sweep(order.guest.id)
        return Outcome(step=ref, error=error.to_wire() if error else None, seen=seen)

    def _attempt(self, task: Task, order: WorkOrder) -> PaddockError | None:
        try:
            self._do(task, order)
        except PaddockError as error:
            LOG.warning("The step %s failed: %s", order.kind, error, extra=task.about)
            return error
        except Exception:
            LOG.exception("The step %s broke", order.kind, extra=task.about)
            return (GuestHung if order.kind is StepKind.SEND else HypervisorError)(
                f"The host {self._identity.host} failed unexpectedly in the step "
                f"{order.kind}; its log says more."
            )
        return None

    def _do(self, task: Task, order: WorkOrder) -> None:
        instance_id, job = order.guest.id, self._job(task, order)
        if order.kind not in CLEANING:
            known = Known(action_id=order.action_id, generation=order.guest.generation)
            self._memory.remember(instance_id, known)
        if order.kind is StepKind.DESTROY:
            with self._slots.barred(instance_id) as owner:
                if isinstance(owner, Task):
                    owner.cancel("The instance is being deleted.")
                WORKERS[order.kind].run(job, self._driver)
        else:
            WORKERS[order.kind].run(job, self._driver)
        if order.kind in CLEANING:
            self._memory.forget(instance_id)

    def _job(self, task: Task, order: WorkOrder) -> Job:
        def may_launch() -> None:
            task.check()
            self._slots.may_launch(order.guest.id)
            self._lease.may_launch()
            failpoints.hit("runner.launching")

        line = Work(progress=task.note, check=task.check)
        return Job(
            order=order,
            launch=Launch(
                action_id=order.action_id,
                cloud_id=self._identity.cloud_id,
                disk_generation=order.disk_generation,
                may_launch=may_launch,
                work=line,
            ),
            line=line,
            shutdown_wait=min(self._shutdown_wait, order.seconds / 2),
        )

    def _sweep(self, instance_id: str) -> None:
        """Remove what a worker may have made while its instance was being deleted, and the note
        of its action, which may be younger than the deletion."""
        what = "What is left could not be removed"
        _attempt(what, instance_id, partial(self._driver.destroy, instance_id, None))
        self._memory.forget(instance_id)

    def _look(self, instance_id: str) -> Seen | None:
        what = "It cannot be looked at"
        return _attempt(what, instance_id, partial(self._driver.seen, instance_id))


def _is_told(order: WorkOrder, error: PaddockError | None) -> bool:
    """Whether a look says what becomes of the guest: not while it may yet be handed over."""
    return order.kind is not StepKind.SEND or not isinstance(error, GuestHung)


def _attempt(trouble: str, instance_id: str, function: Callable[[], T]) -> T | None:
    """Go on whatever goes wrong, because the worker's outcome must be told."""
    about = {"instance_id": instance_id}
    try:
        return function()
    except PaddockError as error:
        LOG.warning("%s: %s", trouble, error, extra=about)
    except Exception:
        LOG.exception("%s", trouble, extra=about)
    return None
