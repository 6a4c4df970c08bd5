"""A conductor in memory, as far as one agent can tell: the ledger's rules for steps, no more."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from paddock.actions import StepKind
from paddock.clients import ConductorClient
from paddock.errors import BusUnavailable, NotFound, PaddockError, StaleEpoch, StepRefused
from paddock.records import (
    DiskSource,
    Found,
    GuestSpec,
    Heartbeat,
    HeartbeatAnswer,
    Hello,
    HelloAnswer,
    LiveStep,
    Observation,
    Outcome,
    Progress,
    QueryOrder,
    StepRef,
    Verdict,
    WorkOrder,
)

CLOUD = "c10d0000-0000-4000-8000-000000000001"


@dataclass
class Row:
    """A step in the ledger."""

    kind: StepKind
    guest: GuestSpec
    params: dict[str, Any]
    disk_generation: int
    source: DiskSource | None
    seconds: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    action_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "accepted"
    attempt: int = 1
    epoch: str | None = None
    starts: int = 0
    outcome: Outcome | None = None
    progress: list[tuple[int, int]] = field(default_factory=list)

    def hint(self) -> LiveStep:
        return LiveStep(
            step_id=self.id,
            action_id=self.action_id,
            instance_id=self.guest.id,
            kind=self.kind,
            attempt=self.attempt,
            status=self.status,
            epoch=self.epoch,
        )


class ConductorDouble(ConductorClient):
    """What the agent's client would reach.

    :ivar reachable: False: nothing comes through
    :ivar lost_replies: names of methods that work once but whose answer is lost
    :ivar verdicts: what reconcile answers, by instance; else all is kept
    :ivar second_thoughts: instances whose verdict is given once only
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.reachable = True
        self.lost_replies: set[str] = set()
        self.rows: dict[str, Row] = {}
        self.epoch: str | None = None
        self.hellos: list[Hello] = []
        self.beats: list[Heartbeat] = []
        self.orders: list[str] = []
        self.verdicts: dict[str, Verdict] = {}
        self.reconciles: list[list[Found]] = []
        self.reconciled_times = 0
        self.second_thoughts: set[str] = set()
        self.removed: list[Verdict] = []
        self.observed: list[Observation] = []
        self.queries: dict[str, QueryOrder] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.pongs: list[str] = []

    # --- what a test does

    def accept(
        self, kind: StepKind, guest: GuestSpec, *, params: dict[str, Any] | None = None,
        disk_generation: int = 1, source: DiskSource | None = None, seconds: float = 30.0,
    ) -> Row:  # fmt: skip
        """Put an accepted step into the ledger; no hint is sent."""
        row = Row(kind, guest, params or {}, disk_generation, source, seconds)
        with self._lock:
            self.rows[row.id] = row
        return row

    def supersede(self, row: Row) -> None:
        """A later action ended this one's step."""
        with self._lock:
            row.status = "superseded"

    # --- what the agent calls

    @contextmanager
    def _call(self, method: str, epoch: str | None = None) -> Iterator[None]:
        if not self.reachable:
            raise BusUnavailable("The conductor is away.")
        with self._lock:
            if epoch is not None and epoch != self.epoch:
                raise StaleEpoch("A newer agent speaks for this host.")
            yield
        if method in self.lost_replies:
            self.lost_replies.remove(method)
            raise BusUnavailable("The reply was lost.")

    def hello(self, hello: Hello) -> HelloAnswer:
        with self._call("hello"):
            if self.epoch not in (hello.replaces, hello.epoch):
                raise StaleEpoch(f"The host's last agent was {self.epoch}.")
            self.epoch = hello.epoch
            self.hellos.append(hello)
            return HelloAnswer(cloud_id=CLOUD, orders=["reconcile"])

    def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        with self._call("heartbeat", beat.epoch):
            self.beats.append(beat)
            live = [row.hint() for row in self.rows.values()
                    if row.status in ("accepted", "running")]  # fmt: skip
            orders, self.orders = self.orders, []
            return HeartbeatAnswer(steps=live, orders=orders)

    def start(self, steps: list[StepRef]) -> list[WorkOrder | PaddockError]:
        with self._call("start"):
            return [self._start(ref) for ref in steps]

    def _start(self, ref: StepRef) -> WorkOrder | PaddockError:
        row = self.rows.get(ref.step_id)
        if row is None:
            return StepRefused("There is no such step.")
        again = row.status == "running" and row.epoch == ref.epoch
        if ref.epoch != self.epoch or ref.attempt != row.attempt:
            return StepRefused("Another attempt or epoch is the newest.")
        if row.status != "accepted" and not again:
            return StepRefused(f"The step is {row.status}.")
        row.status, row.epoch, row.starts = "running", ref.epoch, row.starts + 1
        return WorkOrder(
            step_id=row.id,
            action_id=row.action_id,
            request_id="req-1",
            kind=row.kind,
            attempt=row.attempt,
            seconds=row.seconds,
            params=row.params,
            guest=row.guest,
            disk_generation=row.disk_generation,
            source=row.source,
        )

    def finish(self, outcomes: list[Outcome]) -> list[bool | PaddockError]:
        with self._call("finish"):
            return [self._finish(outcome) for outcome in outcomes]

    def _finish(self, outcome: Outcome) -> bool:
        row, ref = self.rows[outcome.step.step_id], outcome.step
        if row.status == "running" and (row.attempt, row.epoch) == (ref.attempt, ref.epoch):
            row.status = "failed" if outcome.error else "succeeded"
        row.outcome = outcome
        return row.status in ("failed", "succeeded")

    def hand_back(self, step: StepRef, recorded_epoch: str | None) -> bool:
        with self._call("hand_back", step.epoch):
            row = self.rows[step.step_id]
            if (row.status, row.attempt, row.epoch) != ("running", step.attempt, recorded_epoch):
                return False
            row.status, row.attempt, row.epoch = "accepted", row.attempt + 1, None
            return True

    def progress(self, progress: Progress) -> None:
        with self._call("progress"):
            row = self.rows[progress.step.step_id]
            if row.status != "running":
                raise StepRefused("The step does not run.")
            row.progress.append((progress.done, progress.total))

    def report(self, host: str, epoch: str, seen: list[Observation]) -> None:
        with self._call("report", epoch):
            self.observed += seen

    def reconcile(self, host: str, epoch: str, found: list[Found]) -> list[Verdict]:
        with self._call("reconcile", epoch):
            self.reconciles.append(found)
            verdicts = [self._judge(one) for one in found]
            for instance_id in self.second_thoughts:
                self.verdicts.pop(instance_id, None)
            return verdicts

    def _judge(self, found: Found) -> Verdict:
        kept = Verdict(instance_id=found.instance_id, verdict="keep")
        return self.verdicts.get(found.instance_id, kept)

    def reconciled(self, host: str, epoch: str, removed: list[Verdict]) -> None:
        with self._call("reconciled", epoch):
            self.removed += removed
            self.reconciled_times += 1

    def fetch_query(self, host: str, epoch: str, query_id: str) -> QueryOrder:
        with self._call("fetch_query", epoch):
            if query_id not in self.queries:
                raise NotFound("The query is over.")
            return self.queries[query_id]

    def answer(self, host: str, epoch: str, query_id: str, answer: dict[str, Any]) -> None:
        with self._call("answer", epoch):
            self.answers[query_id] = answer

    def pong(self, host: str, epoch: str, nonce: str) -> None:
        with self._call("pong", epoch):
            self.pongs.append(nonce)
