"""Reconcile: what a host has against the ledger, and who keeps what after an interrupted move."""

from __future__ import annotations

import pytest

from conductor.db.models import Host, Instance, Step
from conductor.keeper import KEEPER
from paddock.actions import Seen
from paddock.errors import HostUnavailable
from paddock.records import Found, Verdict, WorkOrder
from tests.fixtures.lab import Lab
from tests.fixtures.ledger import START
from tests.fixtures.model_agent import Domain, work


def verdicts(lab: Lab, host: str, *extra: Found) -> dict[str, Verdict]:
    agent = lab.agents[host]
    found = [*agent.machine.found(), *extra]
    said = agent.conductor.reconcile(host, agent.epoch, found)
    return {verdict.instance_id: verdict for verdict in said}


def thing(vm: str, generation: int | None, *disks: int, seen: Seen = Seen.RUNNING) -> Found:
    return Found(
        instance_id=vm, generation=generation, launched_by="a", seen=seen, disks=list(disks)
    )


def once_on(lab: Lab, host: str, vm: str) -> None:
    """Let the ledger remember work for an instance on a host."""
    lab.ledger.add(
        Step(
            id=lab.ledger.new_id(), action_id="an old action", instance_id=vm, ordinal=0,
            kind="launch", host=host, status="succeeded", created_at=START,
        )
    )  # fmt: skip


def test_what_is_in_its_place_is_kept(lab: Lab) -> None:
    vm = lab.active("h1")
    assert verdicts(lab, "h1")[vm].verdict == "keep"


def test_what_nobody_knows_is_reported_and_left(lab: Lab) -> None:
    assert verdicts(lab, "h1", thing("stranger", 1, 1))["stranger"].verdict == "unknown"


def test_what_was_deleted_is_removed_whatever_its_generation(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.ledger.do(vm, "delete")
    lab.run()
    said = verdicts(lab, "h2", thing(vm, 1, 1, 7))[vm]
    assert (said.verdict, said.below) == ("remove", 8)


@pytest.mark.parametrize("seen", [Seen.OFF, Seen.CRASHED])
def test_what_a_failed_launch_left_of_a_powered_off_machine_is_released(
    lab: Lab, seen: Seen
) -> None:
    vm = lab.off("h1")
    generation = lab.ledger.row(Instance, vm).generation
    assert verdicts(lab, "h1", thing(vm, generation, 1, seen=seen))[vm].verdict == "release"
    stopped = lab.active("h1")
    lab.ledger.do(stopped, "os-stop")
    lab.run()
    assert verdicts(lab, "h1")[stopped].verdict == "keep"


def test_what_is_elsewhere_is_removed(lab: Lab) -> None:
    vm = lab.active("h1")
    said = verdicts(lab, "h2", thing(vm, 1, 1, seen=Seen.OFF))[vm]
    assert (said.verdict, said.below) == ("remove", 2)


def test_old_disks_beside_the_current_one_are_removed_and_it_is_not(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.run()
    lab.world.machines["h3"].disks[vm][1] = 0
    said = verdicts(lab, "h3")[vm]
    assert (said.verdict, said.below) == ("remove", 2)


def test_what_stays_is_judged_once_an_old_copy_beside_it_is_gone(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.run()
    lab.world.machines["h3"].disks[vm][1] = 0
    del lab.world.machines["h3"].domains[vm]
    lab.agents["h3"].reconcile()
    assert list(lab.world.machines["h3"].disks[vm]) == [2]
    lab.run()
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.power_state) == ("stopped", 6)


def test_nothing_of_a_busy_instance_is_touched(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.started("h3")
    for host in lab.agents:
        assert verdicts(lab, host, thing(vm, 9, 9))[vm].verdict == "keep"


def test_what_was_missed_is_seen(lab: Lab) -> None:
    one, two = lab.active("h1"), lab.active("h1")
    machine = lab.world.machines["h1"]
    machine.domains[one].seen = Seen.PAUSED
    del machine.domains[two]
    lab.agents["h1"].reconcile()
    assert lab.ledger.show(one).vm_state == "paused"
    shown = lab.ledger.show(two)
    assert (shown.vm_state, shown.power_state) == ("stopped", 6)


@pytest.mark.parametrize("verb", ["os-stop", "vm-poweroff"])
def test_what_was_seen_before_an_action_changes_nothing_after_it(lab: Lab, verb: str) -> None:
    vm, agent = lab.active("h1"), lab.agents["h1"]
    lab.pass_time(30)
    before = agent.told()
    lab.ledger.do(vm, verb)
    new = lab.active("h1")
    after = lab.ledger.show(vm)
    agent.conductor.reconcile("h1", agent.epoch, before)
    assert lab.ledger.show(vm) == after
    assert lab.ledger.show(new).vm_state == "active"


def test_what_is_gone_is_seen_though_its_host_lost_its_memory_too(lab: Lab) -> None:
    vm, machine = lab.active("h1"), lab.world.machines["h1"]
    for lost in (machine.domains, machine.disks, machine.last):
        lost.clear()
    lab.run("h1")
    lab.agents["h1"].reconcile()
    assert lab.ledger.show(vm).vm_state == "active"
    lab.pass_time(6)
    lab.run("h1")
    assert (lab.ledger.show(vm).vm_state, lab.host("h1").reconcile) == ("stopped", False)


def test_an_order_that_comes_up_while_reconciling_is_not_lost(lab: Lab) -> None:
    agent = lab.agents["h1"]
    agent.conductor.reconcile("h1", agent.epoch, [])
    lab.ledger.change(Host, "h1", reconcile=True)
    agent.conductor.reconciled("h1", agent.epoch, [])
    assert "reconcile" in agent.beat().orders


def test_a_host_with_a_worker_of_an_ended_step_reconciles_later(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.ledger.do(vm, "reboot-hard")
    order = lab.started("h1")
    lab.pass_time(125)
    agent = lab.agents["h1"]
    agent.held = {order.step_id: order.attempt}
    assert "reconcile" not in agent.beat().orders
    agent.held = {}
    assert "reconcile" in agent.beat().orders


def overdue(lab: Lab) -> tuple[str, WorkOrder]:
    """A machine in az1 that was to be powered on by a host which hung in the launch meanwhile."""
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az1")
    order, agent = lab.started("h1"), lab.agents["h1"]
    agent.held, agent.worked_on = {order.step_id: order.attempt}, {vm}
    lab.pass_time(190, "h1")
    assert lab.left() == {("h1", "guest")}
    return vm, order


def come_through(lab: Lab, order: WorkOrder) -> None:
    """The launch that hung has its effect."""
    work(lab.world, lab.world.machines["h1"], order)


def is_barred(lab: Lab, vm: str) -> bool:
    answer = lab.ledger.ask(vm, "vm-poweron", availability_zone="az2")
    return isinstance(answer, HostUnavailable)


def shown(lab: Lab, vm: str) -> tuple[str, int]:
    record = lab.ledger.show(vm)
    return record.vm_state, record.power_state


def test_nothing_is_settled_of_what_a_worker_is_still_at(lab: Lab) -> None:
    vm, order = overdue(lab)
    lab.run("h1")
    lab.pass_time(30)
    lab.run("h1")
    assert lab.host("h1").state == "up"
    assert lab.left() == {("h1", "guest")}
    assert is_barred(lab, vm)
    agent = lab.agents["h1"]
    come_through(lab, order)
    assert not agent.finish(order, None, Seen.RUNNING)
    agent.held, agent.worked_on = {}, set()
    assert is_barred(lab, vm)
    lab.pass_time(6)
    lab.run("h1")
    assert shown(lab, vm) == ("active", 1)
    assert (lab.left(), lab.claims(vm)) == (set(), {("h1", "compute"), ("h1", "disk")})


@pytest.mark.parametrize("word", ["finish", "report", "reconcile"])
def test_a_machine_that_runs_though_it_is_off_is_barred_and_becomes_active(
    lab: Lab, word: str
) -> None:
    vm, order = overdue(lab)
    agent = lab.agents["h1"]
    agent.held, agent.worked_on = {}, set()
    lab.run("h1")
    assert (shown(lab, vm), lab.left()) == (("powered_off", 10), set())
    come_through(lab, order)
    lab.ledger.change(Host, "h1", vcpus=0)
    if word == "finish":
        assert not agent.finish(order, None, Seen.RUNNING)
    elif word == "report":
        agent.report(vm, order.action_id)
    else:
        agent.reconcile()
    assert shown(lab, vm) == ("powered_off", 1)
    assert is_barred(lab, vm)
    lab.pass_time(6)
    lab.run("h1")
    assert shown(lab, vm) == ("active", 1)
    assert lab.claims(vm) == {("h1", "compute"), ("h1", "disk")}


def test_a_guest_without_marks_or_disk_where_its_machine_is_not_is_removed(lab: Lab) -> None:
    vm = lab.active("h1")
    verdict = verdicts(lab, "h2", thing(vm, None))[vm]
    assert (verdict.verdict, verdict.below) == ("remove", 2)


def test_an_agent_that_knows_no_action_is_believed_of_a_machine_that_has_rested(lab: Lab) -> None:
    vm, agent = lab.active("h1"), lab.agents["h1"]
    lab.ledger.do(vm, "pause")
    lab.run()
    lab.world.machines["h1"].domains[vm].seen = Seen.CRASHED
    agent.report(vm)
    assert shown(lab, vm) == ("paused", 3)
    assert lab.host("h1").reconcile
    lab.pass_time(60)
    agent.report(vm)
    assert shown(lab, vm) == ("stopped", 6)


def test_a_machine_that_ran_for_a_moment_though_it_is_off_stays_off(lab: Lab) -> None:
    vm = lab.off("h1")
    agent, machine = lab.agents["h1"], lab.world.machines["h1"]
    machine.domains[vm] = Domain(1, Seen.RUNNING, machine.last[vm])
    agent.report(vm, machine.last[vm])
    del machine.domains[vm]
    lab.pass_time(6)
    lab.run("h1")
    assert (shown(lab, vm), lab.left()) == (("powered_off", 10), set())
    assert lab.claims(vm) == {("h1", "disk")}


def test_a_host_that_never_had_an_instance_keeps_it_from_nothing(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    vm = lab.off("h1")
    lab.world.machines["h3"].domains[vm] = Domain(1, Seen.RUNNING, "an old action")
    lab.agents["h3"].report(vm)
    assert verdicts(lab, "h3")[vm].verdict == "remove"
    assert f"Instance {vm} never was on host h3" in caplog.text
    assert lab.left() == set()
    lab.ledger.do(vm, "vm-poweron")


def test_a_host_cannot_say_that_the_disk_of_its_machine_was_to_be_removed(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    vm, agent = lab.active("h1"), lab.agents["h1"]
    never = Verdict(instance_id=vm, verdict="remove", below=99)
    lab.ledger.agents.reconciled("h1", agent.epoch, [never])
    assert f"Host h1 was not told to remove instance {vm}" in caplog.text
    assert lab.claims(vm) == {("h1", "compute"), ("h1", "disk")}


@pytest.mark.parametrize("off", [True, False])
def test_a_guest_that_runs_where_it_does_not_belong_is_named_and_removed(
    lab: Lab, off: bool
) -> None:
    vm = lab.off("h1") if off else lab.active("h1")
    before = shown(lab, vm)
    agent, machine = lab.agents["h3"], lab.world.machines["h3"]
    once_on(lab, "h3", vm)
    machine.domains[vm] = Domain(1, Seen.RUNNING, "an old action")
    agent.report(vm)
    assert "reconcile" in agent.beat().orders
    assert verdicts(lab, "h3")[vm].verdict == "remove"
    assert lab.ledger.violations() == [f"instance {vm} may run on h3, where it does not belong"]
    refused = lab.ledger.ask(vm, "vm-poweron" if off else "reboot-hard")
    assert isinstance(refused, HostUnavailable)
    agent.reconcile()
    assert machine.found() == []
    lab.pass_time(6)
    lab.run("h3")
    assert (shown(lab, vm), lab.left()) == (before, set())


def test_a_fenced_hosts_stray_is_forgotten_and_nothing_else(lab: Lab) -> None:
    vm = lab.active("h1")
    once_on(lab, "h3", vm)
    lab.world.machines["h3"].domains[vm] = Domain(1, Seen.RUNNING, "an old action")
    verdicts(lab, "h3")
    lab.ledger.change(Host, "h3", forced_down=True)
    lab.reaper.round()
    assert (shown(lab, vm), lab.left()) == (("active", 1), set())


TARGETS = {
    "guest": lambda order: (Domain(order.guest.generation, Seen.RUNNING, order.action_id), True),
    "disk": lambda order: (None, True),
    "nothing": lambda order: (None, False),
}


LAUNCHED = [(source, target) for how, source, target in KEEPER if how == "launch"]


@pytest.mark.parametrize(("source", "target"), LAUNCHED)
def test_one_table_says_who_keeps_an_interrupted_move(lab: Lab, source: str, target: str) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h3"].do(lab.started("h3"))
    launch = lab.started("h3")
    lab.pass_time(200)
    _put(lab, vm, launch, target)
    if source == "gone":
        lab.ledger.change(Instance, vm, disk_host="h0")
    lab.run("h3")
    shown = lab.ledger.show(vm)
    keeper = KEEPER["launch", source, target]  # type: ignore[index]
    homes = {"target": "h3", "source": "h1", "nobody": None}
    assert shown.disk_host == homes[keeper]
    assert lab.left() - {("h1", "disk"), ("h3", "disk")} == set()
    states = {"guest": "active", "disk": "powered_off"}
    expected = "error" if keeper == "nobody" else states.get(target, "powered_off")
    assert shown.vm_state == expected
    if source == "gone":
        _forget(lab, vm)


def _put(lab: Lab, vm: str, launch: WorkOrder, target: str) -> None:
    machine = lab.world.machines["h3"]
    domain, disk = TARGETS[target](launch)
    if domain:
        machine.domains[vm] = domain
    if not disk:
        machine.disks[vm] = {}


def _forget(lab: Lab, vm: str) -> None:
    """The disk's host was taken out of the database by force: clear what hung on it."""
    lab.ledger.do(vm, "delete")
    lab.run()
