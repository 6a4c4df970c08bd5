"""What the conductor hears of guests that change by themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compute_agent.drivers.fake_control import Behaviour
from paddock.actions import Seen, StepKind
from paddock.records import Observation
from tests.agent_lab import AgentLab, ended, eventually
from tests.driver_contract import quiet


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AgentLab]:
    lab = AgentLab(tmp_path)
    yield lab.started()
    lab.close()


def last(lab: AgentLab, instance_id: str) -> Observation | None:
    told = [one for one in lab.conductor.observed if one.instance_id == instance_id]
    return told[-1] if told else None


def told(lab: AgentLab, instance_id: str, seen: Seen) -> Observation:
    def right() -> Observation | None:
        one = last(lab, instance_id)
        return one if one and one.seen is seen else None

    found = eventually(right, f"the news that it is {seen}")
    assert found is not None
    return found


def test_a_guest_that_ends_by_itself_is_told_with_its_last_action(tmp_path: Path) -> None:
    lab = AgentLab(tmp_path, observe_interval=60.0).started()
    try:
        guest = lab.running()
        pause = lab.done(StepKind.PAUSE, guest)
        lab.driver.happen(guest.id, Seen.CRASHED)
        observation = told(lab, guest.id, Seen.CRASHED)
        assert observation.action_id == pause.action_id
        assert observation.generation == guest.generation
    finally:
        lab.close()


def test_a_change_without_an_event_is_found_by_looking(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.shut_down(guest.id, 0, quiet())
    told(lab, guest.id, Seen.OFF)


def test_the_last_action_is_known_after_a_restart(lab: AgentLab) -> None:
    guest = lab.running()
    unpause = [lab.done(kind, guest) for kind in (StepKind.PAUSE, StepKind.UNPAUSE)][-1]
    lab.stop()
    lab.conductor.observed.clear()
    lab.started()
    assert told(lab, guest.id, Seen.RUNNING).action_id == unpause.action_id


def test_an_agent_that_has_lost_its_files_tells_no_action(lab: AgentLab, tmp_path: Path) -> None:
    guest = lab.running()
    lab.done(StepKind.PAUSE, guest)
    lab.stop()
    for file in tmp_path.glob("**/actions/*.json"):
        file.unlink()
    lab.conductor.observed.clear()
    lab.started()
    assert told(lab, guest.id, Seen.PAUSED).action_id is None


def test_what_is_worked_on_is_not_told(lab: AgentLab) -> None:
    guest = lab.running()
    told(lab, guest.id, Seen.RUNNING)
    lab.driver.control.set("suspend", Behaviour(hang=True))
    row = lab.run(StepKind.SUSPEND, guest)
    eventually(lambda: row.starts, "the start")
    lab.conductor.observed.clear()
    lab.driver.happen(guest.id, Seen.CRASHED)
    time.sleep(0.5)
    assert last(lab, guest.id) is None
    lab.conductor.supersede(row)
    ended(row)
    told(lab, guest.id, Seen.CRASHED)


class Slow:
    """Lets a method's calls last, once they have done their work, until they are let go.

    :ivar calls: how many there were
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        self.has_worked, self.may_go = threading.Event(), threading.Event()
        self.calls = 0
        method = getattr(owner, name)

        def slowly(*args: Any) -> Any:
            self.calls += 1
            result = method(*args)
            self.has_worked.set()
            assert self.may_go.wait(10)
            return result

        monkeypatch.setattr(owner, name, slowly)


def test_what_was_seen_of_a_step_that_ends_during_the_look_is_not_told(
    lab: AgentLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = lab.running()
    lab.driver.control.set("launch", Behaviour(hang=True))
    reboot = lab.run(StepKind.REBOOT, guest, params={"type": "HARD"})
    eventually(lambda: lab.driver.seen(guest.id) is Seen.OFF, "the shutdown")
    look = Slow(monkeypatch, lab.driver, "found")
    assert look.has_worked.wait(10)
    lab.driver.control.clear()
    ended(reboot)
    eventually(lambda: lab.conductor.beats[-1].held == [], "the end of the step")
    look.may_go.set()
    told(lab, guest.id, Seen.RUNNING)
    time.sleep(0.3)
    assert Seen.OFF not in {one.seen for one in lab.conductor.observed}


def test_an_inventory_that_is_ordered_during_a_look_is_told_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = AgentLab(tmp_path, observe_interval=60.0).started()
    try:
        guest = lab.running()
        report = Slow(monkeypatch, lab.conductor, "report")
        lab.conductor.orders.append("inventory")
        assert report.has_worked.wait(10)
        lab.conductor.observed.clear()
        lab.conductor.orders.append("inventory")
        beats = len(lab.conductor.beats)
        eventually(lambda: len(lab.conductor.beats) > beats + 2, "the order")
        report.may_go.set()
        told(lab, guest.id, Seen.RUNNING)
    finally:
        lab.close()


def test_a_storm_of_changes_costs_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = AgentLab(tmp_path, observe_interval=60.0).started()
    try:
        guest = lab.running()
        lab.conductor.orders.append("inventory")
        told(lab, guest.id, Seen.RUNNING)
        look = Slow(monkeypatch, lab.driver, "found")
        for seen in (Seen.PAUSED, *(Seen.RUNNING, Seen.PAUSED) * 10, Seen.CRASHED):
            lab.driver.happen(guest.id, seen)
            assert look.has_worked.wait(10)
        look.may_go.set()
        told(lab, guest.id, Seen.CRASHED)
        assert look.calls == 2
    finally:
        lab.close()


def test_what_did_not_change_is_seldom_told(tmp_path: Path) -> None:
    lab = AgentLab(tmp_path, observe_interval=0.1).started()
    try:
        guest = lab.running()
        told(lab, guest.id, Seen.RUNNING)
        before = len(lab.conductor.observed)
        time.sleep(1.0)
        assert 1 <= len(lab.conductor.observed) - before <= 5
        lab.conductor.orders.append("inventory")
        eventually(lambda: len(lab.conductor.observed) > before, "the inventory")
    finally:
        lab.close()
