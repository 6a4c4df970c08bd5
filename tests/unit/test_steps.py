"""start, finish, hand_back and progress: each idempotent, each refusing what is out of date."""

from __future__ import annotations

from typing import Any

import pytest

from conductor import start
from conductor.db.models import Base, Host, Instance, Step
from conductor.turn import Turn
from paddock.actions import Seen
from paddock.errors import HypervisorError, ServiceUnavailable, StaleEpoch, StepRefused
from paddock.records import ActionRecord, Progress, StepRef
from tests.fixtures.lab import Lab


def test_start_can_be_repeated(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    (step,) = lab.waiting("h1")
    assert lab.agents["h1"].start(step) == lab.agents["h1"].start(step)


def test_each_step_of_a_move_is_answered_with_what_the_ledger_then_says(lab: Lab) -> None:
    vm, agent = lab.off("h1"), lab.agents["h3"]
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    (fetch,) = lab.waiting("h3")
    order = agent.start(fetch)
    assert order == agent.start(fetch)
    agent.do(order)
    (launch,) = lab.waiting("h3")
    moved = agent.start(launch)
    assert moved == agent.start(launch)
    assert moved.guest.generation == order.guest.generation + 1 == moved.disk_generation


@pytest.mark.parametrize(
    ("verb", "launches"), [("reboot-hard", True), ("pause", False), ("delete", False)]
)
def test_only_what_may_launch_a_guest_is_told_its_ports(
    lab: Lab, verb: str, launches: bool
) -> None:
    vm = lab.active("h1")
    lab.ledger.do(vm, verb)
    assert bool(lab.started("h1").guest.ports) is launches


def test_an_older_process_is_refused_everything(lab: Lab) -> None:
    vm = lab.active()
    old = lab.agents["h1"]
    lab.ledger.do(vm, "pause")
    (step,) = lab.waiting("h1")
    lab.agents["h1"] = lab.boot("h1")
    with pytest.raises(StaleEpoch):
        old.start(step)
    with pytest.raises(StaleEpoch):
        old.beat()
    with pytest.raises(StaleEpoch):
        old.reconcile()


def test_the_progress_of_an_older_process_moves_nothing(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    order = lab.started("h3")
    old = lab.agents["h3"]
    ref = StepRef(host="h3", epoch=old.epoch, step_id=order.step_id, attempt=order.attempt)
    lab.agents["h3"] = lab.boot("h3", zone="az2")
    with pytest.raises(StaleEpoch):
        lab.ledger.agents.progress(Progress(step=ref, done=1, total=2))
    assert lab.ledger.row(Step, order.step_id).done == 0


def test_a_step_past_its_deadline_does_not_start(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    (step,) = lab.waiting("h1")
    lab.clock.advance(121)
    with pytest.raises(StepRefused):
        lab.agents["h1"].start(step)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [(Host, {"state": "down"}), (Host, {"forced_down": True}), (Host, {"epoch": "e2"}),
     (Instance, {"busy": None})],
)  # fmt: skip
def test_a_step_does_not_start_beside_a_verdict_on_its_host_or_instance(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: type[Base], verdict: dict[str, Any]
) -> None:
    vm = lab.active()
    pause = lab.ledger.do(vm, "pause")
    (step,) = lab.waiting("h1")
    check = start._check_start

    def check_just_before(turn: Turn, *rows: Any) -> None:  # SQLite lets nobody come between
        check(turn, *rows)
        turn.change(kind, **verdict)

    monkeypatch.setattr(start, "_check_start", check_just_before)
    with pytest.raises(ServiceUnavailable):
        lab.agents["h1"].start(step)
    assert lab.steps(pause.action_id) == [("pause", "h1", "accepted")]


def test_a_superseded_step_does_not_start(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    (step,) = lab.waiting("h1")
    lab.ledger.do(vm, "delete")
    with pytest.raises(StepRefused):
        lab.agents["h1"].start(step)


def test_another_hosts_step_does_not_start(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    (step,) = lab.waiting("h1")
    with pytest.raises(StepRefused):
        lab.agents["h2"].start(step)


def test_finish_can_be_repeated(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    order = lab.started("h1")
    assert lab.agents["h1"].do(order)
    assert lab.agents["h1"].finish(order)
    assert lab.ledger.show(vm).vm_state == "paused"


def test_a_failure_can_be_repeated_and_is_shown(lab: Lab) -> None:
    vm = lab.active()
    ticket = lab.ledger.do(vm, "pause")
    order = lab.started("h1")
    for _ in range(2):
        assert lab.agents["h1"].finish(order, HypervisorError("no /run/x"), Seen.RUNNING)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state) == ("active", None)
    action = lab.ledger.api.get_action(lab.ledger.member, vm, "req-1")
    told = "The host or its hypervisor could not do it."
    assert (action.id, action.status, action.reason) == (ticket.action_id, "failed", told)
    assert [step.reason for step in action.steps] == ["no /run/x"]


def test_a_finish_that_comes_too_late_is_taken_as_an_observation(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    order = lab.started("h1")
    lab.pass_time(125)
    assert lab.ledger.show(vm).vm_state == "active"
    assert not lab.agents["h1"].finish(order, None, Seen.PAUSED)
    assert lab.ledger.show(vm).vm_state == "paused"


def test_a_late_finish_that_was_delayed_says_nothing_of_what_came_after(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "os-stop")
    agent, order = lab.agents["h1"], lab.started("h1")
    lab.pass_time(200)
    lab.world.machines["h1"].domains[vm].seen = Seen.OFF
    assert not agent.finish(order, None, Seen.OFF)
    lab.ledger.do(vm, "os-start")
    lab.run()
    assert not agent.finish(order, None, Seen.OFF)
    assert lab.ledger.instance(vm).vm_state == "active"


def test_a_failure_shows_what_became_of_the_guest(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    lab.agents["h1"].finish(lab.started("h1"), HypervisorError("it broke"), Seen.CRASHED)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.power_state) == ("stopped", 6)


def test_what_an_older_conductor_accepted_is_the_last_action_once_it_was_begun(lab: Lab) -> None:
    vm = lab.active("h1")
    before = lab.ledger.instance(vm).last_action
    lab.ledger.do(vm, "os-stop")
    lab.ledger.change(Instance, vm, last_action=before)  # as that one leaves it
    lab.run()
    lab.ledger.do(vm, "os-start")
    lab.ledger.change(Instance, vm, last_action=lab.ledger.instance(vm).last_action)
    lab.run()
    lab.world.machines["h1"].domains[vm].seen = Seen.CRASHED
    lab.agents["h1"].report(vm, lab.ledger.instance(vm).last_action)
    assert lab.ledger.show(vm).vm_state == "stopped"


def test_an_action_runs_from_when_its_first_step_was_begun(lab: Lab) -> None:
    vm = lab.active()

    def told() -> ActionRecord:
        return lab.ledger.api.get_action(lab.ledger.member, vm, "req-1")

    lab.ledger.do(vm, "pause")
    accepted = told()
    lab.pass_time(1)
    order = lab.started("h1")
    running = told()
    assert (accepted.status, running.status) == ("accepted", "running")
    assert str(accepted.updated_at) < str(running.updated_at)
    lab.agents["h1"].do(order)
    assert told().status == "succeeded"


def test_a_restarted_agent_hands_back_and_begins_again(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    order = lab.started("h1")
    agent = lab.agents["h1"] = lab.boot("h1")
    (step,) = agent.beat().steps
    assert (step.status, step.attempt) == ("running", 1)
    assert agent.conductor.hand_back(agent.ref(step), step.epoch)
    assert not agent.conductor.hand_back(agent.ref(step), step.epoch)
    with pytest.raises(StepRefused):
        agent.start(step)
    again = lab.started("h1")
    assert (again.step_id, again.attempt) == (order.step_id, 2)
    agent.do(again)
    assert lab.ledger.show(vm).vm_state == "paused"


def test_after_three_attempts_it_is_given_up(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause")
    for _ in range(3):
        lab.started("h1")
        agent = lab.agents["h1"] = lab.boot("h1")
        (step,) = agent.beat().steps
        assert agent.conductor.hand_back(agent.ref(step), step.epoch)
    action = lab.ledger.api.get_action(lab.ledger.member, vm, "req-1")
    assert (action.status, action.reason) == ("failed", "It was given up after 3 attempts.")


def test_only_bytes_that_grow_move_the_deadline_and_not_for_ever(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    fetch = lab.started("h3")
    agent = lab.agents["h3"]
    first = lab.ledger.row(Step, fetch.step_id)

    def tell(done: int) -> Step:
        told = Progress(step=agent.ref(fetch), done=done, total=100)
        agent.conductor.progress(told)
        step: Step = lab.ledger.row(Step, fetch.step_id)
        return step

    lab.clock.advance(100)
    moved = tell(10)
    assert (moved.deadline - first.deadline).total_seconds() == 100
    assert lab.ledger.show(vm).progress == 10
    lab.clock.advance(50)
    assert tell(10).deadline == moved.deadline
    assert tell(5).done == 10
    for done in range(11, 51):
        lab.clock.advance(150)
        last = tell(done)
    assert last.deadline == last.hard_deadline == first.hard_deadline


def test_another_attempts_bytes_count_from_none(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    before, fetch = lab.agents["h3"], lab.started("h3")
    before.conductor.progress(Progress(step=before.ref(fetch), done=100, total=200))
    agent = lab.agents["h3"] = lab.boot("h3", "az2")
    assert agent.conductor.hand_back(agent.ref(fetch), before.epoch)
    again = lab.started("h3")
    lab.clock.advance(1)
    deadline = lab.ledger.row(Step, again.step_id).deadline
    agent.conductor.progress(Progress(step=agent.ref(again), done=50, total=200))
    assert lab.ledger.row(Step, again.step_id).deadline > deadline
    agent.do(again)
    lab.run()


def test_progress_of_a_step_that_has_ended_is_refused(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    fetch = lab.started("h3")
    lab.ledger.do(vm, "delete")
    told = Progress(step=lab.agents["h3"].ref(fetch), done=1, total=2)
    with pytest.raises(StepRefused):
        lab.agents["h3"].conductor.progress(told)


def test_the_end_of_an_action_is_logged_with_what_it_is_about(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    vm = lab.active()
    ticket = lab.ledger.do(vm, "pause")
    with caplog.at_level("INFO", logger="conductor"):
        lab.run()
    (record,) = [one for one in caplog.records if one.message == "The action pause has succeeded"]
    assert vars(record)["action_id"] == ticket.action_id
    assert vars(record)["instance_id"] == vm
