"""What takes the place of parts of agents, so that a rule of the design is missing."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec

import compute_agent.heartbeat
import compute_agent.lease
import compute_agent.observer
import compute_agent.performer
import compute_agent.reconcile
import compute_agent.runner
import compute_agent.slots
from compute_agent.drivers.base import Driver
from compute_agent.job import Job
from compute_agent.workers import Worker
from paddock.actions import StepKind
from paddock.records import Found
from tests.simulation.patches import Patch, nothing


def all_removed() -> list[Patch]:
    """By reconcile, and by the step that removes the old copy after a move."""
    original = compute_agent.reconcile.Reconciler._remove

    def remove(self: Any, verdict: Any) -> Any:
        return original(self, msgspec.structs.replace(verdict, below=999))

    discard = Worker(lambda job, driver: driver.destroy(job.instance_id, None), Driver)
    workers = compute_agent.performer.WORKERS | {StepKind.DISCARD: discard}
    return [
        (compute_agent.reconcile.Reconciler, "_remove", remove),
        (compute_agent.performer, "WORKERS", workers),
    ]


def blind_reboots() -> list[Patch]:
    """Done again, a reboot ends the guest that the attempt before it has launched."""

    def reboot(job: Job, driver: Driver) -> None:
        driver.shut_down(job.instance_id, 0.0, job.line)
        driver.launch(job.guest, job.launch)

    workers = compute_agent.performer.WORKERS | {StepKind.REBOOT: Worker(reboot, Driver)}
    return [(compute_agent.performer, "WORKERS", workers)]


def launch_as_last() -> list[Patch]:
    def patched(module: Any, name: str) -> Patch:
        original = getattr(module, name)

        def tell(found: Found, known: Any, *more: bool) -> Any:
            told = original(found, known, *more)
            return told if known else msgspec.structs.replace(told, action_id=found.launched_by)

        return module, name, tell

    return [patched(compute_agent.observer, "observe"), patched(compute_agent.reconcile, "_tell")]


def no_slot() -> list[Patch]:
    def enter(self: Any, _instance_id: str, _owner: Any, go: Callable[[], object]) -> None:
        go()

    return [(compute_agent.slots.Slots, "enter", enter)]


def hasty_cancel() -> list[Patch]:
    original = compute_agent.runner.Runner.cancel_unlisted

    def cancel(self: Any, listed: Any, _sent_at: float) -> None:
        original(self, listed, float("inf"))

    return [(compute_agent.runner.Runner, "cancel_unlisted", cancel)]


def deaf_cancel() -> list[Patch]:
    return [(compute_agent.runner.Runner, "cancel_unlisted", nothing)]


def lease_from_answer() -> list[Patch]:
    original = compute_agent.lease.Lease.renew

    def renew(self: Any, _sent_at: float) -> bool:
        return original(self, self._clock())

    return [(compute_agent.lease.Lease, "renew", renew)]


def unhealed(status: str) -> Callable[[], list[Patch]]:
    """Heartbeats' answers do not tell of steps of this status that the agent does not hold."""

    def patches() -> list[Patch]:
        kind = compute_agent.heartbeat.Heartbeats
        original = kind._heal

        def heal(self: Any, answer: Any, sent_at: float) -> None:
            told = [s for s in answer.steps if s.status != status or self._runner.holds(s)]
            original(self, msgspec.structs.replace(answer, steps=told), sent_at)

        return [(kind, "_heal", heal)]

    return patches


def workers_unseen() -> list[Patch]:
    original = compute_agent.reconcile._tell

    def tell(found: Any, known: Any, _worked_on: bool) -> Any:
        return msgspec.structs.replace(original(found, known, False), worked_on=False)

    return [(compute_agent.reconcile, "_tell", tell)]


def patient_deletes() -> list[Patch]:
    """They take the instance's slot as all others do."""
    kinds = SimpleNamespace(DESTROY="")
    return [(compute_agent.runner, "StepKind", kinds)]


def never_reconciled() -> list[Patch]:
    return [(compute_agent.lease.Lease, "is_open", lambda _self: True)]
