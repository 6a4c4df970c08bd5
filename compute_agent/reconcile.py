"""Compares what is on the host with the ledger, and removes what belongs elsewhere or nowhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Set

import msgspec

from compute_agent.facts import Facts
from compute_agent.lease import now
from compute_agent.memory import Known
from compute_agent.watcher import Around, Watcher
from paddock.actions import Seen
from paddock.errors import PaddockError
from paddock.records import Found, Verdict
from paddock.service import Timer

LOG = logging.getLogger(__name__)
REMOVING = ("remove", "release")
"""Verdicts that take something away."""


class Reconciler(Watcher):
    """Reconciles when ordered and after every lapse, again and again until it succeeds.

    :param facts: says whether the hypervisor answers, without which nothing is known
    :param interval: seconds between tries
    :ivar on_done: called after each time, so that waiting steps begin at once
    """

    def __init__(self, around: Around, facts: Facts, interval: float) -> None:
        super().__init__(around)
        self._facts = facts
        self._present: set[str] = set()
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
        """One round, if one is due; what goes wrong is tried again in the next."""
        if not self._is_due():
            return
        lapses, ordered_at = self._lease.lapses, self._ordered_at
        try:
            removed = self._settle()
            self._conductor.reconciled(self._identity.host, self._identity.epoch, removed)
        except PaddockError as error:
            LOG.warning("The host cannot reconcile now: %s", error)
            return
        self._forget_absent()
        self._lease.reconciled(lapses)
        self._done_at = max(now(), ordered_at)
        LOG.info("Reconciled: %d found, %d removed", len(self._present), len(removed))
        self.on_done()

    def _settle(self) -> list[Verdict]:
        """Carry the verdicts out; gives those whose removal was done.

        The ledger is asked again once the slots are taken, so that nothing changes any more.
        """
        wanted = [verdict.instance_id for verdict in self._hear() if verdict.verdict in REMOVING]
        owner = object()
        taken = {instance_id for instance_id in wanted if self._take(instance_id, owner)}
        try:
            again = self._ask(taken) if taken else []
            removals = [v for v in again if v.instance_id in taken and v.verdict in REMOVING]
            removed = [verdict for verdict in removals if self._remove(verdict)]
            if removed:
                self._present = {one.instance_id for one in self._driver.found()}
            return removed
        finally:
            for instance_id in taken:
                self._slots.leave(instance_id, owner)

    def _is_due(self) -> bool:
        ordered = self._ordered_at > self._done_at
        return self._facts.connected and (ordered or not self._lease.is_open())

    def _hear(self) -> list[Verdict]:
        """What becomes of everything here; what nobody knows is logged."""
        verdicts = self._ask()
        for verdict in verdicts:
            if verdict.verdict == "unknown":
                about = {"instance_id": verdict.instance_id}
                LOG.warning("Nobody knows this instance, which is here and stays", extra=about)
        return verdicts

    def _take(self, instance_id: str, owner: object) -> bool:
        """Take an instance's slot; what is worked on stays for next time."""
        taken = self._slots.take(instance_id, owner)
        if not taken:
            about = {"instance_id": instance_id}
            LOG.info("The instance is worked on and stays for now", extra=about)
        return taken

    def _remove(self, verdict: Verdict) -> bool:
        about = {"instance_id": verdict.instance_id}
        what = "all but the disk"
        if verdict.verdict == "remove":
            what = f"what is below generation {verdict.below}"
        LOG.warning("Removing %s: %s", what, verdict.reason, extra=about)
        try:
            if verdict.verdict == "release":
                self._driver.release(verdict.instance_id)
            else:
                self._driver.destroy(verdict.instance_id, verdict.below)
        except PaddockError as error:
            LOG.warning("Removing failed: %s", error, extra=about)
            return False
        return True

    def _ask(self, own: Set[str] = frozenset()) -> list[Verdict]:
        """Everything found goes along each time: what is missing counts as gone.

        :param own: whose slots are taken for this
        """
        # Read before looking, so that an action in between makes what is told too old.
        known = self._memory.snapshot()
        worked_on = self._slots.taken()
        found = self._driver.found()
        worked_on |= self._slots.taken()
        self._present = {one.instance_id for one in found}
        missing = sorted((worked_on | set(known)) - self._present)
        told = [
            _tell(one, known.get(one.instance_id), one.instance_id in worked_on - own)
            for one in found + [_missing(instance_id) for instance_id in missing]
        ]
        return self._conductor.reconcile(self._identity.host, self._identity.epoch, told)

    def _forget_absent(self) -> None:
        for instance_id in self._memory.snapshot():
            if instance_id not in self._present and self._slots.owner(instance_id) is None:
                self._memory.forget(instance_id)


def _missing(instance_id: str) -> Found:
    return Found(
        instance_id=instance_id, generation=None, launched_by=None, seen=Seen.GONE, disks=[]
    )


def _tell(found: Found, known: Known | None, worked_on: bool) -> Found:
    """What is told of something found, with the last action that this agent knows of."""
    return msgspec.structs.replace(
        found,
        action_id=known.action_id if known else None,
        worked_on=found.worked_on or worked_on,
    )
