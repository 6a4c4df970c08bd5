"""What becomes of machines whose host lost its power."""

from __future__ import annotations

import pytest

from paddock.actions import Seen
from paddock.records import ActionRecord, Hello, Listing
from tests.fixtures.lab import Lab
from tests.fixtures.model_agent import Agent

DOWN = 120


def come_back(lab: Lab, host: str, restarts: bool = True, since: float = 30) -> Agent:
    """A host boots after a loss of power, by which its guests ended; its agent reconciles."""
    machine = lab.world.machines[host]
    for key, domain in tuple(machine.domains.items()):
        if domain.seen is not Seen.SAVED:
            del machine.domains[key]
    lab.clock.advance(DOWN)
    return new_agent(lab, host, since if restarts else None)


def new_agent(lab: Lab, host: str, booted: float | None) -> Agent:
    machine = lab.world.machines[host]
    agent = Agent(lab.ledger.agents, lab.world, machine, lab.ledger.new_id())
    agent.conductor.hello(
        Hello(
            host=host, epoch=agent.epoch, replaces=machine.epoch, machine_id=f"id-{host}",
            zone=machine.zone, facts=agent.facts, booted=booted,
        )
    )  # fmt: skip
    machine.epoch = agent.epoch
    lab.agents[host] = agent
    agent.reconcile()
    return agent


def actions(lab: Lab, vm: str) -> list[ActionRecord]:
    """Newest first."""
    return lab.ledger.api.list_actions(lab.ledger.admin, vm, Listing())


def verbs(lab: Lab, vm: str) -> list[str]:
    return [action.verb for action in actions(lab, vm)]


def test_what_ran_is_started_again_by_an_action_of_its_own(lab: Lab) -> None:
    vm = lab.active("h1")
    come_back(lab, "h1")
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state) == ("stopped", "powering-on")
    lab.run("h1")
    assert lab.ledger.show(vm).vm_state == "active"
    assert lab.world.machines["h1"].seen(vm) is Seen.RUNNING
    newest = actions(lab, vm)[0]
    assert (newest.verb, newest.user_id) == ("start", None)
    assert newest.project_id == lab.ledger.show(vm).project_id


def test_by_default_what_ran_is_stopped(lab: Lab) -> None:
    vm = lab.active("h1")
    come_back(lab, "h1", restarts=False)
    lab.run("h1")
    assert lab.ledger.show(vm).vm_state == "stopped"
    assert verbs(lab, vm) == ["create"]


def test_a_locked_machine_is_never_started(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.ledger.do(vm, "lock", locked_reason="billing")
    come_back(lab, "h1")
    lab.run("h1")
    assert lab.ledger.show(vm).vm_state == "stopped"


@pytest.mark.parametrize(("verb", "state"), [
    ("pause", "stopped"), ("suspend", "suspended"), ("os-stop", "stopped"),
    ("vm-poweroff", "powered_off"),
])  # fmt: skip
def test_what_did_not_run_is_not_started(lab: Lab, verb: str, state: str) -> None:
    vm = lab.active("h1")
    lab.ledger.do(vm, verb)
    lab.run("h1")
    come_back(lab, "h1")
    lab.run("h1")
    assert lab.ledger.show(vm).vm_state == state


def test_what_ends_after_the_boot_stays_ended(lab: Lab) -> None:
    vm = lab.active("h1")
    come_back(lab, "h1")
    lab.run("h1")
    lab.clock.advance(DOWN)
    lab.world.machines["h1"].domains[vm].seen = Seen.OFF
    new_agent(lab, "h1", 30 + DOWN)
    lab.run("h1")
    assert lab.ledger.show(vm).vm_state == "stopped"


def test_a_start_that_fails_is_told_and_not_tried_for_ever(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.world.machines["h1"].disks[vm] = {}
    come_back(lab, "h1")
    lab.run("h1")
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state) == ("stopped", None)
    assert shown.fault is not None
    assert verbs(lab, vm) == ["start", "create"]


def test_machines_that_wait_for_each_other_have_the_time_of_all(lab: Lab) -> None:
    vms = [lab.active("h1") for _ in range(3)]
    come_back(lab, "h1")
    lab.pass_time(300)
    assert {lab.ledger.show(vm).task_state for vm in vms} == {"powering-on"}
    lab.run("h1")
    assert {lab.ledger.show(vm).vm_state for vm in vms} == {"active"}
