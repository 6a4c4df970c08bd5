"""What becomes of a step on its host."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from compute_agent.drivers.fake import FakeDriver
from compute_agent.drivers.fake_control import Behaviour
from compute_agent.memory import LastActions
from paddock.actions import Seen, StepKind
from paddock.errors import from_wire
from paddock.records import DiskSource, StepRef
from tests import factories
from tests.agent_lab import AgentLab, ended, eventually
from tests.conductor_double import CLOUD, Row

HANG = Behaviour(hang=True)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AgentLab]:
    lab = AgentLab(tmp_path, movers=1, workers=4)
    yield lab.started()
    lab.close()


def error_of(row: Row) -> str:
    outcome = ended(row).outcome
    assert outcome is not None and outcome.error is not None
    return f"{type(from_wire(outcome.error)).__name__}: {outcome.error['message']}"


def test_a_hinted_step_is_done_once(lab: AgentLab) -> None:
    guest = lab.guest()
    row = lab.conductor.accept(StepKind.LAUNCH, guest)
    for _ in range(3):
        lab.hint(row)
    ended(row)
    assert (row.status, row.starts) == ("succeeded", 1)
    assert row.outcome is not None and row.outcome.seen is Seen.RUNNING
    [found] = lab.driver.found()
    assert (found.launched_by, found.generation) == (row.action_id, guest.generation)


def test_a_lost_hint_heals_by_the_next_heartbeat(lab: AgentLab) -> None:
    row = lab.conductor.accept(StepKind.LAUNCH, lab.guest())
    assert ended(row).status == "succeeded"


def test_a_lost_hint_delays_a_step_by_one_heartbeat(tmp_path: Path) -> None:
    lab = AgentLab(tmp_path, heartbeat_interval=2.0, lease=30.0)
    try:
        lab.started()
        guest = lab.running()
        for kind in (StepKind.PAUSE, StepKind.UNPAUSE):
            row = lab.conductor.accept(kind, guest)
            before = len(lab.conductor.beats)
            eventually(lambda: row.starts, "the start")  # noqa: B023
            assert len(lab.conductor.beats) <= before + 1
            assert ended(row).status == "succeeded"
    finally:
        lab.close()


def test_a_create_that_failed_leaves_nothing_on_its_host(lab: AgentLab, tmp_path: Path) -> None:
    guest = lab.guest()
    lab.driver.control.set("launch", Behaviour(fail="There is no room."))
    assert "no room" in error_of(lab.run(StepKind.LAUNCH, guest))
    assert list(tmp_path.rglob(f"*{guest.id}*")) == []


def test_a_machine_lives_through_every_kind_of_step(lab: AgentLab) -> None:
    guest, seen = lab.running(), lab.driver.seen
    for kind, after in [
        (StepKind.PAUSE, Seen.PAUSED),
        (StepKind.UNPAUSE, Seen.RUNNING),
        (StepKind.SUSPEND, Seen.SAVED),
        (StepKind.RESUME, Seen.RUNNING),
        (StepKind.STOP, Seen.OFF),
        (StepKind.LAUNCH, Seen.RUNNING),
        (StepKind.POWER_OFF, Seen.GONE),
    ]:
        row = lab.done(kind, guest)
        assert seen(guest.id) is after
        assert row.outcome is not None and row.outcome.seen is after
    [found] = lab.driver.found()
    assert found.disks == [1]
    lab.done(StepKind.DESTROY, guest)
    assert lab.driver.found() == []


@pytest.mark.parametrize("how", ["SOFT", "HARD"])
def test_a_reboot_boots_once_more(lab: AgentLab, how: str) -> None:
    guest = lab.running()
    lab.driver.control.set("shut_down", Behaviour(delay=0.3))
    begun = time.monotonic()
    lab.done(StepKind.REBOOT, guest, params={"type": how})
    assert "boots=2" in lab.driver.console(guest.id, 1)
    assert how == "HARD" or time.monotonic() - begun >= 0.3


@pytest.mark.parametrize("how", ["SOFT", "HARD"])
def test_a_reboot_that_a_crash_kept_from_being_told_is_not_done_again(
    lab: AgentLab, how: str
) -> None:
    guest = lab.running()
    lab.driver.control.set("seen", HANG, guest.id)
    row = lab.run(StepKind.REBOOT, guest, params={"type": how})
    eventually(lambda: "boots=2" in lab.driver.console(guest.id, 1), "the reboot")
    lab.stop(0.1)
    lab.driver.control.clear()
    lab.start()
    assert (ended(row).status, row.attempt) == ("succeeded", 2)
    assert "boots=2" in lab.driver.console(guest.id, 1)


def test_a_disk_comes_from_another_host_and_leaves_it_afterwards(lab: AgentLab) -> None:
    away = FakeDriver(factories.agent_conf(lab.root, "h2"))
    away.connect(CLOUD, lambda *_: None)
    guest = lab.running(metadata={"mark": "mine"})
    lab.done(StepKind.POWER_OFF, guest)
    source = DiskSource(host="h1", store=lab.driver.facts().store, generation=1)
    other = AgentLab(lab.root, "h2").started()
    try:
        moved = factories.guest(None, id=guest.id, generation=2, ports=guest.ports)
        row = other.done(StepKind.FETCH, moved, disk_generation=2, source=source)
        assert row.progress == [] or row.progress[-1][0] <= row.progress[-1][1]
        other.done(StepKind.LAUNCH, moved, disk_generation=2)
        assert "mark=mine boots=2" in other.driver.console(guest.id, 1)
    finally:
        other.close()
    lab.done(StepKind.DISCARD, guest, disk_generation=1)
    assert lab.driver.found() == []


def test_one_worker_per_instance_and_the_next_step_follows(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("pause", HANG)
    first = lab.run(StepKind.PAUSE, guest)
    eventually(lambda: first.starts, "the start")
    second = lab.run(StepKind.UNPAUSE, guest)
    other = lab.running()
    assert (second.starts, lab.driver.seen(other.id)) == (0, Seen.RUNNING)
    lab.driver.control.clear()
    assert ended(first).status == ended(second).status == "succeeded"
    assert lab.driver.seen(guest.id) is Seen.RUNNING


def test_held_steps_are_told_until_finish_is_answered(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("pause", HANG)
    row = lab.run(StepKind.PAUSE, guest)
    eventually(lambda: row.id in {held.step_id for held in lab.conductor.beats[-1].held})
    lab.driver.control.clear()
    ended(row)
    eventually(lambda: lab.conductor.beats[-1].held == [])


def test_moving_disks_never_starves_a_pause(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("fetch", HANG)
    source = DiskSource(host="h9", store="file:///nowhere", generation=1)
    fetches = [lab.run(StepKind.FETCH, lab.guest(), source=source) for _ in range(6)]
    eventually(lambda: any(row.starts for row in fetches), "a move")
    lab.done(StepKind.PAUSE, guest)
    assert sum(row.starts for row in fetches) == 1


def test_finish_is_repeated_until_it_is_answered(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("pause", HANG)
    row = lab.run(StepKind.PAUSE, guest)
    eventually(lambda: row.starts, "the start")
    lab.conductor.reachable = False
    lab.driver.control.clear()
    eventually(lambda: lab.driver.seen(guest.id) is Seen.PAUSED, "the pause")
    assert row.outcome is None
    lab.conductor.reachable = True
    assert ended(row).status == "succeeded"


@pytest.mark.parametrize("method", ["start", "finish"])
def test_a_lost_reply_changes_nothing(lab: AgentLab, method: str) -> None:
    lab.conductor.lost_replies.add(method)
    row = lab.done(StepKind.LAUNCH, lab.guest())
    assert row.starts == (2 if method == "start" else 1)
    assert row.attempt == 1


def test_a_failure_is_told_in_the_drivers_words(lab: AgentLab) -> None:
    lab.driver.control.set("launch", Behaviour(fail="The store is full."))
    row = lab.run(StepKind.LAUNCH, lab.guest())
    assert error_of(row) == "HypervisorError: The store is full."
    assert row.outcome is not None and row.outcome.seen is Seen.GONE


def test_an_unknown_error_gives_a_readable_sentence(
    lab: AgentLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(lab.driver, "launch", broken)
    message = error_of(lab.run(StepKind.LAUNCH, lab.guest()))
    assert message.startswith("HypervisorError: The host h1 failed unexpectedly")
    assert "secret" not in message


def test_an_outcome_is_told_though_the_guest_cannot_be_looked_at(
    lab: AgentLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_instance_id: str) -> Seen:
        raise KeyError("secret")

    monkeypatch.setattr(lab.driver, "seen", broken)
    row = lab.done(StepKind.LAUNCH, lab.guest())
    assert (row.attempt, row.outcome and row.outcome.seen) == (1, None)


def test_a_step_that_the_ledger_no_longer_lists_is_cancelled(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("suspend", HANG)
    row = lab.run(StepKind.SUSPEND, guest)
    eventually(lambda: row.starts, "the start")
    lab.conductor.supersede(row)
    assert "WorkCancelled" in error_of(row)
    assert lab.driver.seen(guest.id) is Seen.RUNNING


def test_a_step_ends_at_its_deadline(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("suspend", HANG)
    row = lab.run(StepKind.SUSPEND, guest, seconds=0.3)
    assert "WorkCancelled" in error_of(row)


def test_delete_does_not_wait_and_nothing_is_launched_after_it(lab: AgentLab) -> None:
    guest = lab.guest()
    lab.driver.control.set("launch", HANG)
    launch = lab.run(StepKind.LAUNCH, guest)
    eventually(lambda: launch.starts, "the start")
    lab.conductor.supersede(launch)
    lab.done(StepKind.DESTROY, guest)
    lab.driver.control.clear()
    assert "Cancelled" in error_of(launch) or "Barred" in error_of(launch)
    assert lab.driver.found() == []


def test_what_a_worker_leaves_during_a_delete_is_swept_up(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("shut_down", HANG)
    reboot = lab.run(StepKind.REBOOT, guest, params={"type": "HARD"})
    eventually(lambda: reboot.starts, "the start")
    lab.conductor.supersede(reboot)
    lab.done(StepKind.DESTROY, guest)
    lab.driver.control.clear()
    ended(reboot)
    assert lab.driver.found() == []


def test_what_a_worker_notes_when_its_instance_is_gone_is_forgotten(
    lab: AgentLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest, gone, remember = lab.running(), threading.Event(), LastActions.remember

    def remember_late(*told: Any) -> None:
        gone.wait(10)
        remember(*told)

    monkeypatch.setattr(LastActions, "remember", remember_late)
    suspend = lab.run(StepKind.SUSPEND, replace(guest, image=None))
    eventually(lambda: suspend.starts, "the start")
    lab.conductor.supersede(suspend)
    lab.done(StepKind.DESTROY, guest)
    gone.set()
    ended(suspend)
    assert not list(Path(lab.conf.state_path).rglob("actions/*.json"))


def test_a_lapsed_lease_bars_the_launch_under_way(lab: AgentLab) -> None:
    guest = lab.guest()
    lab.driver.control.set("launch", HANG)
    row = lab.run(StepKind.LAUNCH, guest)
    eventually(lambda: row.starts, "the start")
    lab.conductor.reachable = False
    time.sleep(lab.conf.compute.lease + 0.2)  # the lease must really lapse
    lab.driver.control.clear()
    time.sleep(0.2)
    lab.conductor.reachable = True
    assert "LaunchBarred" in error_of(row)
    assert lab.driver.seen(guest.id) is Seen.GONE


def test_stopping_waits_for_the_worker_and_its_finish(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("pause", Behaviour(delay=0.5))
    row = lab.run(StepKind.PAUSE, guest)
    eventually(lambda: row.starts, "the start")
    lab.stop()
    assert row.status == "succeeded"


def test_what_a_stopped_agent_leaves_the_next_one_hands_back_and_does(lab: AgentLab) -> None:
    guest = lab.running()
    lab.driver.control.set("suspend", HANG)
    row = lab.run(StepKind.SUSPEND, guest)
    eventually(lambda: row.starts, "the start")
    lab.stop(0.1)
    assert (row.status, row.outcome) == ("running", None)
    lab.driver.control.clear()
    lab.start()
    assert ended(row).status == "succeeded"
    assert row.attempt == 2
    assert lab.driver.seen(guest.id) is Seen.SAVED


def test_hung_workers_do_not_keep_a_step_from_being_handed_back(lab: AgentLab) -> None:
    guests = [lab.running() for _ in range(lab.conf.compute.workers)]
    lab.driver.control.set("pause", HANG)
    hung = [lab.run(StepKind.PAUSE, guest) for guest in guests]
    eventually(lambda: all(row.starts for row in hung), "the starts")
    lost = lab.conductor.accept(StepKind.LAUNCH, lab.guest())
    lost.status, lost.epoch = "running", lab.conductor.epoch
    eventually(lambda: lost.attempt == 2, "handing back")


def test_a_step_is_handed_back_by_one_call_however_long_that_takes(
    lab: AgentLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[StepRef] = []
    may_go, hand_back = threading.Event(), lab.conductor.hand_back

    def slowly(step: StepRef, epoch: str | None) -> bool:
        calls.append(step)
        assert may_go.wait(10)
        return hand_back(step, epoch)

    monkeypatch.setattr(lab.conductor, "hand_back", slowly)
    lost = lab.conductor.accept(StepKind.LAUNCH, lab.guest())
    lost.status, lost.epoch = "running", lab.conductor.epoch
    eventually(lambda: calls, "handing back")
    beats = len(lab.conductor.beats)
    eventually(lambda: len(lab.conductor.beats) > beats + 3, "further heartbeats")
    may_go.set()
    assert ended(lost).status == "succeeded"
    assert len(calls) == 1


def test_what_the_driver_cannot_do_is_refused(
    lab: AgentLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = lab.running()
    from compute_agent import workers

    class Never:
        pass

    monkeypatch.setitem(
        workers.WORKERS, StepKind.PAUSE, workers.Worker(lambda job, driver: None, Never)
    )
    assert error_of(lab.run(StepKind.PAUSE, guest)).startswith("Unsupported: ")
