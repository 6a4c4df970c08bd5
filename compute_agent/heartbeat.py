"""Says that this host is alive, and heals by what the conductor answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from compute_agent.epoch import EpochFile, Identity
from compute_agent.facts import Facts
from compute_agent.lease import Lease, now
from compute_agent.runner import Runner
from paddock.actions import StepKind
from paddock.clients import CONTRACT, ConductorClient
from paddock.errors import PaddockError, StaleEpoch
from paddock.records import Heartbeat, HeartbeatAnswer, Hello, HelloAnswer, HostFacts
from paddock.service import Timer

LOG = logging.getLogger(__name__)


class Heartbeats(Timer):
    """Hello until it is answered, then heartbeats.

    :param restarts: whether instances that ran before the host booted are to run again
    :param orders: what to do on each order; called with when the heartbeat was sent
    :param on_stale: called when another process speaks for this host, so that this one must end
    """

    def __init__(
        self,
        identity: Identity,
        epochs: EpochFile,
        zone: str,
        conductor: ConductorClient,
        facts: Facts,
        runner: Runner,
        lease: Lease,
        restarts: bool,
        orders: Mapping[str, Callable[[float], object]],
        on_stale: Callable[[], object],
        interval: float,
    ) -> None:
        super().__init__(self.beat, interval, "heartbeat")
        self._identity = identity
        self._epochs = epochs
        self._zone = zone
        self._conductor = conductor
        self._facts = facts
        self._runner = runner
        self._lease = lease
        self._restarts = restarts
        self._orders = orders
        self._on_stale = on_stale
        self._known = False
        self._silent = False

    def beat(self) -> None:
        """One round; what goes wrong is logged once and tried again in the next."""
        try:
            if not self._known:
                self._say_hello()
            self._send()
        except PaddockError as error:
            if self._known and isinstance(error, StaleEpoch):
                self._end(error)
            else:
                self._complain(error)
        else:
            if self._silent:
                LOG.info("The conductor answers again")
            self._silent = False

    def _end(self, error: StaleEpoch) -> None:
        LOG.error("This agent must end: %s", error)
        self._lease.end()
        self._on_stale()

    def _complain(self, error: PaddockError) -> None:
        log = LOG.debug if self._silent else LOG.warning
        log("The conductor does not take this host's heartbeats: %s", error)
        self._silent = True

    def _say_hello(self) -> None:
        """Announce this process as the successor of each that may be the last, until one fits."""
        self._epochs.attempt(self._identity.epoch)
        *others, last = self._epochs.predecessors()
        for replaces in others:
            try:
                return self._greet(replaces)
            except StaleEpoch as error:
                LOG.info("Not the successor of %s: %s", replaces, error)
        return self._greet(last)

    def _greet(self, replaces: str | None) -> None:
        answer: HelloAnswer = self._conductor.hello(
            Hello(
                host=self._identity.host,
                epoch=self._identity.epoch,
                replaces=replaces,
                machine_id=self._epochs.machine_id,
                zone=self._zone,
                facts=self._tell(),
                booted=now() if self._restarts else None,
            )
        )
        self._epochs.accepted(self._identity.epoch)
        self._identity.cloud_id = answer.cloud_id
        self._known = True
        LOG.info("Host %s is known to the cloud %s", self._identity.host, answer.cloud_id)
        self._facts.kick()

    def _send(self) -> None:
        sent_at = now()
        beat = Heartbeat(
            host=self._identity.host,
            epoch=self._identity.epoch,
            facts=self._tell(),
            held=self._runner.held(),
        )
        answer = self._conductor.heartbeat(beat)
        if self._lease.renew(sent_at):
            self._obey("reconcile", sent_at)
        for order in answer.orders:
            self._obey(order, sent_at)
        self._heal(answer, sent_at)

    def _tell(self) -> HostFacts:
        """The newest facts; those that a former process left say what that one spoke."""
        return msgspec.structs.replace(self._facts.latest(), rpc_version=CONTRACT.version)

    def _obey(self, order: str, sent_at: float) -> None:
        if action := self._orders.get(order):
            action(sent_at)
        else:
            LOG.warning("Unknown order %r", order)

    def _heal(self, answer: HeartbeatAnswer, sent_at: float) -> None:
        """Begin what waits, give back what nobody here does, end what is no longer wanted."""
        self._runner.cancel_unlisted(answer.steps, sent_at)
        for step in answer.steps:
            if step.status == "accepted" and step.kind in {*StepKind}:
                self._runner.offer(step)
            elif step.status == "accepted":
                LOG.warning("This release cannot do a step of the kind %r", step.kind)
            elif not self._runner.holds(step):
                self._runner.hand_back(step, self.kick)
