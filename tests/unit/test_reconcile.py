"""What an agent does with what the ledger says of the things on its host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_agent.drivers.fake_control import Behaviour
from paddock.actions import Seen, StepKind
from paddock.records import GuestSpec, Verdict
from tests.agent_lab import AgentLab, ended, eventually


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AgentLab]:
    lab = AgentLab(tmp_path)
    yield lab.started()
    lab.close()


def judge(lab: AgentLab, guest: GuestSpec, verdict: str, below: int = 0) -> None:
    lab.conductor.verdicts[guest.id] = Verdict(
        instance_id=guest.id, verdict=verdict, below=below, reason="a test says so"
    )


def reconcile(lab: AgentLab) -> None:
    """Order it and wait until it was done."""
    done = lab.conductor.reconciled_times
    lab.conductor.orders.append("reconcile")
    eventually(lambda: lab.conductor.reconciled_times > done, "reconciling")


def test_what_belongs_elsewhere_is_removed_and_told(lab: AgentLab) -> None:
    old, kept, strange = lab.running(), lab.running(), lab.running()
    judge(lab, old, "remove", below=2)
    judge(lab, strange, "unknown")
    reconcile(lab)
    assert {one.instance_id for one in lab.driver.found()} == {kept.id, strange.id}
    assert [verdict.instance_id for verdict in lab.conductor.removed] == [old.id]


def test_nothing_is_left_of_what_was_removed(lab: AgentLab, tmp_path: Path) -> None:
    guest = lab.running()
    judge(lab, guest, "remove", below=2)
    reconcile(lab)
    eventually(lambda: not list(tmp_path.rglob(f"*{guest.id}*")), "nothing there any more")


def test_a_guest_that_is_off_is_released_and_its_disk_stays(lab: AgentLab) -> None:
    guest = lab.running()
    lab.done(StepKind.STOP, guest)
    judge(lab, guest, "release")
    reconcile(lab)
    [found] = lab.driver.found()
    assert (found.seen, found.generation, found.disks) == (Seen.GONE, None, [1])


def test_what_is_told_carries_the_last_action_also_of_what_is_gone(lab: AgentLab) -> None:
    here, lost = lab.running(), lab.running()
    pause = lab.done(StepKind.PAUSE, here)
    lab.driver.destroy(lost.id, None)
    reconcile(lab)
    told = {one.instance_id: one for one in lab.conductor.reconciles[-1]}
    assert told[here.id].action_id == pause.action_id
    assert (told[lost.id].seen, told[lost.id].disks) == (Seen.GONE, [])
    assert told[lost.id].action_id not in (None, pause.action_id)


def test_only_older_things_are_touched(lab: AgentLab) -> None:
    guest = lab.running()
    judge(lab, guest, "remove", below=1)
    reconcile(lab)
    assert lab.driver.seen(guest.id) is Seen.RUNNING


def test_the_ledger_is_asked_again_before_anything_is_removed(lab: AgentLab) -> None:
    guest = lab.running()
    judge(lab, guest, "remove", below=2)
    lab.conductor.second_thoughts.add(guest.id)
    reconcile(lab)
    assert lab.driver.seen(guest.id) is Seen.RUNNING
    assert lab.conductor.removed == []
    told = [{f.instance_id: f.worked_on for f in call} for call in lab.conductor.reconciles[-2:]]
    assert told == [{guest.id: False}, {guest.id: False}]


def test_the_ledger_is_asked_twice_however_much_is_to_be_removed(lab: AgentLab) -> None:
    guests = [lab.running() for _ in range(3)]
    for guest in guests:
        judge(lab, guest, "remove", below=2)
    calls = len(lab.conductor.reconciles)
    reconcile(lab)
    assert {verdict.instance_id for verdict in lab.conductor.removed} == {g.id for g in guests}
    assert len(lab.conductor.reconciles) == calls + 2


def test_what_is_worked_on_stays_and_is_told(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("pause", Behaviour(hang=True))
    row = lab.run(StepKind.PAUSE, guest)
    eventually(lambda: row.starts, "the start")
    judge(lab, guest, "remove", below=2)
    reconcile(lab)
    assert lab.conductor.removed == []
    assert [one.worked_on for one in lab.conductor.reconciles[-1]] == [True]
    lab.driver.control.clear()
    assert ended(row).status == "succeeded"


def test_what_is_worked_on_is_told_though_nothing_is_there_yet(lab: AgentLab) -> None:
    lab.driver.control.set("launch", Behaviour(hang=True))
    row = lab.run(StepKind.LAUNCH, lab.guest())
    eventually(lambda: row.starts, "the start")
    reconcile(lab)
    (told,) = lab.conductor.reconciles[-1]
    assert (told.instance_id, told.seen, told.worked_on) == (row.guest.id, Seen.GONE, True)
    lab.driver.control.clear()
    ended(row)


def test_a_failed_removal_is_not_told_as_done(lab: AgentLab) -> None:
    guest = lab.running()
    judge(lab, guest, "remove", below=2)
    lab.driver.control.set("destroy", Behaviour(fail="The store is away."))
    reconcile(lab)
    assert lab.conductor.removed == []


def test_a_host_starts_nothing_until_it_has_reconciled(tmp_path: Path) -> None:
    lab = AgentLab(tmp_path)
    try:
        lab.driver.control.set("found", Behaviour(hang=True))
        lab.start()
        eventually(lambda: lab.conductor.beats, "a heartbeat")
        row = lab.run(StepKind.LAUNCH, lab.guest())
        time.sleep(0.3)
        assert row.starts == 0
        lab.driver.control.clear()
        assert ended(row).status == "succeeded"
    finally:
        lab.close()


def test_a_hypervisor_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    lab = AgentLab(tmp_path)
    try:
        lab.driver.control.set("connect", Behaviour(fail="It starts.", times=3))
        lab.started()
        lab.running()
    finally:
        lab.close()


def test_a_lapse_while_reconciling_is_followed_by_another_round(lab: AgentLab) -> None:
    lab.driver.control.set("found", Behaviour(hang=True))
    lab.conductor.orders.append("reconcile")
    eventually(lambda: lab.conductor.orders == [], "the order")
    lab.conductor.reachable = False
    time.sleep(lab.conf.compute.lease + 0.2)  # the lease must really lapse
    beats = len(lab.conductor.beats)
    lab.conductor.reachable = True
    eventually(lambda: len(lab.conductor.beats) > beats + 1, "an answered heartbeat")
    lab.driver.control.clear()
    lab.running()
