"""Compares what is on the host with the ledger, and removes what belongs elsewhere or nowhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from compute_agent.drivers.base import Driver
from compute_agent.epoch import Identity
from compute_agent.lease import Lease
from compute_agent.memory import LastActions
from compute_agent.slots import Slots
from paddock.clients import ConductorClient
from paddock.errors import PaddockError
from paddock.records import Found, Verdict
from paddock.service import Timer

LOG = logging.getLogger(__name__)


class Reconciler:
    """Reconciles when ordered, again and again until it succeeds.

    :param slots: a removal takes the instance's slot
    :param on_done: called after each time, so that waiting steps begin at once
    :param interval: seconds between tries
    """

    def __init__(
        self,
        identity: Identity,
        conductor: ConductorClient,
        driver: Driver,
        slots: Slots[object],
        lease: Lease,
        memory: LastActions,
        interval: float,
    ) -> None:
        self._identity = identity
        self._conductor = conductor
        self._driver = driver
        self._slots = slots
        self._lease = lease
        self._memory = memory
        self._ordered_at = float("-inf")
        self._done_at = float("-inf")
        self._timer = Timer(self.run, interval, "reconcile")
        self.on_done: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Begin to wait for orders."""
        self._timer.start()

    def stop(self, timeout: float) -> None:
        """Begin no more rounds."""
        self._timer.stop(timeout)

    def order(self, sent_at: float) -> None:
        """Reconcile, unless that was done after the heartbeat that was answered with the order.

        :param sent_at: when that heartbeat was sent
        """
        self._ordered_at = sent_at
        if self._is_due():
            self._timer.kick()

    def kick(self) -> None:
        """Try now what is due."""
        self._timer.kick()

    def run(self) -> None:
        """One round, if one is due."""
        if not self._is_due():
            return
        lapses, ordered_at = self._lease.lapses, self._ordered_at
        found = self._driver.found()
        verdicts = self._conductor.reconcile(self._identity.host, self._identity.epoch, found)
        removed = [verdict for verdict in verdicts if self._carry_out(verdict)]
        self._conductor.reconciled(self._identity.host, self._identity.epoch, removed)
        self._forget_absent({one.instance_id for one in found})
        self._lease.reconciled(lapses)
        self._done_at = max(time.monotonic(), ordered_at)
        LOG.info("Reconciled: %d found, %d removed", len(found), len(removed))
        self.on_done()

    def _is_due(self) -> bool:
        return bool(self._identity.cloud_id) and self._ordered_at > self._done_at

    def _carry_out(self, verdict: Verdict) -> bool:
        """Whether it was removed; what is held stays for the next time."""
        if verdict.verdict == "unknown":
            LOG.warning("Nobody knows instance %s, which is here", verdict.instance_id)
        if verdict.verdict != "remove":
            return False
        owner = object()
        if not self._slots.take(verdict.instance_id, owner):
            LOG.info("Instance %s is worked on and stays for now", verdict.instance_id)
            return False
        try:
            return self._remove(verdict)
        finally:
            self._slots.leave(verdict.instance_id, owner)

    def _remove(self, verdict: Verdict) -> bool:
        instance_id = verdict.instance_id
        verdict = self._ask_again(verdict)
        if verdict.verdict != "remove":
            return False
        LOG.warning(
            "Removing %s below generation %d: %s", instance_id, verdict.below, verdict.reason
        )
        try:
            self._driver.destroy(instance_id, verdict.below)
        except PaddockError as error:
            LOG.warning("Removing %s failed: %s", instance_id, error)
            return False
        return True

    def _ask_again(self, verdict: Verdict) -> Verdict:
        """The verdict now that the slot is taken, so that nothing can change any more."""
        now: list[Found] = [
            one for one in self._driver.found() if one.instance_id == verdict.instance_id
        ]
        if not now:
            return verdict  # nothing is left of it; removing is harmless and settles it
        [again] = self._conductor.reconcile(self._identity.host, self._identity.epoch, now)
        return again

    def _forget_absent(self, present: set[str]) -> None:
        for instance_id in self._memory.snapshot():
            if instance_id not in present and self._slots.owner(instance_id) is None:
                self._memory.forget(instance_id)
