"""SIGTERM during each kind of work: what ends in time is told, what does not is done again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compute_agent.drivers.fake import FakeDriver
from compute_agent.drivers.fake_control import Behaviour
from paddock.actions import Seen, StepKind
from paddock.records import DiskSource, GuestSpec
from tests import factories
from tests.agent_lab import AgentLab, ended, eventually
from tests.conductor_double import CLOUD, Row
from tests.driver_contract import launched, quiet

K = StepKind


@dataclass(frozen=True)
class Work:
    """One kind of work.

    :ivar method: the driver's, in which it is when the agent is told to stop
    :ivar before: the steps that come before it
    :ivar after: what the guest is in the end
    """

    kind: StepKind
    method: str
    before: tuple[StepKind, ...]
    after: Seen


WORKS = [
    Work(K.LAUNCH, "launch", (), Seen.RUNNING),
    Work(K.POWER_OFF, "shut_down", (K.LAUNCH,), Seen.GONE),
    Work(K.POWER_OFF, "release", (K.LAUNCH,), Seen.GONE),
    Work(K.STOP, "shut_down", (K.LAUNCH,), Seen.OFF),
    Work(K.REBOOT, "shut_down", (K.LAUNCH,), Seen.RUNNING),
    Work(K.REBOOT, "launch", (K.LAUNCH,), Seen.RUNNING),
    Work(K.PAUSE, "pause", (K.LAUNCH,), Seen.PAUSED),
    Work(K.UNPAUSE, "unpause", (K.LAUNCH, K.PAUSE), Seen.RUNNING),
    Work(K.SUSPEND, "suspend", (K.LAUNCH,), Seen.SAVED),
    Work(K.RESUME, "resume", (K.LAUNCH, K.SUSPEND), Seen.RUNNING),
    Work(K.FETCH, "fetch", (), Seen.GONE),
    Work(K.DISCARD, "destroy", (K.LAUNCH, K.POWER_OFF), Seen.GONE),
    Work(K.DESTROY, "destroy", (K.LAUNCH,), Seen.GONE),
]


def name_of(work: Work) -> str:
    return work.kind if work.kind == work.method else f"{work.kind}-{work.method}"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AgentLab]:
    lab = AgentLab(tmp_path)
    yield lab.started()
    lab.close()


def begun(lab: AgentLab, work: Work, how: Behaviour) -> Row:
    """A step whose worker is in the driver."""
    guest = lab.guest()
    for kind in work.before:
        lab.done(kind, guest)
    lab.driver.control.set(work.method, how, guest.id)
    row = lab.run(work.kind, guest, **_order(lab, work, guest))
    eventually(lambda: row.starts, "the start")
    return row


def _order(lab: AgentLab, work: Work, guest: GuestSpec) -> dict[str, Any]:
    if work.kind is not K.FETCH:
        return {"params": {"type": "SOFT"}} if work.kind is K.REBOOT else {}
    away = FakeDriver(factories.agent_conf(lab.root, "h2"))
    away.connect(CLOUD, lambda *_: None)
    away.launch(guest, launched())
    away.shut_down(guest.id, 0, quiet())
    source = DiskSource(host="h2", store=away.facts().store, generation=1)
    return {"source": source, "disk_generation": 2}


@pytest.mark.parametrize("work", WORKS, ids=name_of)
def test_work_that_ends_in_time_is_told(lab: AgentLab, work: Work) -> None:
    row = begun(lab, work, Behaviour(delay=0.4))
    lab.stop()
    assert (row.status, row.attempt) == ("succeeded", 1)
    assert lab.driver.seen(row.guest.id) is work.after


@pytest.mark.parametrize("work", WORKS, ids=name_of)
def test_work_that_does_not_end_in_time_is_done_by_the_next_agent(
    lab: AgentLab, work: Work
) -> None:
    row = begun(lab, work, Behaviour(hang=True))
    lab.stop(0.2)
    assert (row.status, row.outcome) == ("running", None)
    lab.driver.control.clear()
    lab.start()
    assert (ended(row).status, row.attempt) == ("succeeded", 2)
    assert lab.driver.seen(row.guest.id) is work.after


def test_what_waited_for_its_turn_is_left_to_the_next_agent(lab: AgentLab) -> None:
    first = begun(lab, Work(K.PAUSE, "pause", (K.LAUNCH,), Seen.PAUSED), Behaviour(delay=0.4))
    second = lab.run(K.UNPAUSE, first.guest)
    lab.stop()
    assert (first.status, second.status, second.starts) == ("succeeded", "accepted", 0)
    lab.driver.control.clear()
    lab.start()
    assert (ended(second).status, second.attempt) == ("succeeded", 1)
