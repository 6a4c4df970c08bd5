"""Moving a machine that does not run: where it goes, what stays, what a failure leaves."""

from __future__ import annotations

import pytest

from conductor.db.models import Host
from paddock.actions import Seen
from paddock.errors import (
    BadRequest,
    Forbidden,
    HypervisorError,
    InvalidState,
    NoValidHost,
    PaddockError,
)
from tests.fixtures.lab import Lab


def stopped(lab: Lab, host: str = "h1") -> str:
    instance_id = lab.active(host)
    lab.ledger.do(instance_id, "os-stop")
    lab.run()
    return instance_id


def migrate(lab: Lab, vm: str, **params: str) -> str:
    ticket = lab.ledger.do(vm, "migrate", ctxt=lab.ledger.admin, **params)
    return ticket.action_id


def refused(lab: Lab, vm: str, **params: str) -> PaddockError:
    answer = lab.ledger.ask(vm, "migrate", lab.ledger.admin, **params)
    assert isinstance(answer, PaddockError), answer
    return answer


def test_a_stopped_machine_moves_with_its_disk_claims_addresses_and_zone(lab: Lab) -> None:
    vm = stopped(lab)
    ports = lab.ledger.show(vm).ports
    action = migrate(lab, vm, host="h3")
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state, shown.host) == ("stopped", "resize_migrating", "h1")
    assert lab.claims(vm) == {(host, kind) for host in ("h1", "h3") for kind in ("compute", "disk")}
    lab.run()
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state, shown.power_state) == ("stopped", None, 4)
    assert (shown.host, shown.disk_host, shown.zone, shown.generation) == ("h3", "h3", "az2", 2)
    assert shown.ports == ports
    assert lab.claims(vm) == {("h3", "compute"), ("h3", "disk")}
    assert lab.claimed("h1") == (0, 0, 0)
    assert lab.steps(action) == [
        ("power_off", "h1", "succeeded"), ("fetch", "h3", "succeeded"),
        ("discard", "h1", "succeeded"),
    ]  # fmt: skip
    assert lab.world.machines["h1"].found() == []
    lab.ledger.do(vm, "os-start")
    lab.run()
    assert lab.world.machines["h3"].seen(vm) == Seen.RUNNING


def test_a_powered_off_machine_needs_only_room_for_its_disk(lab: Lab) -> None:
    vm = lab.off("h1")
    for host in ("h2", "h3"):
        lab.ledger.change(Host, host, vcpus=0, memory_mb=0)
    migrate(lab, vm, host="h2")
    lab.run()
    assert lab.claims(vm) == {("h2", "disk")}
    assert lab.ledger.show(vm).power_state == 10


def test_without_a_target_it_goes_to_any_other_host_of_the_zone_asked_for(lab: Lab) -> None:
    vm = stopped(lab)
    migrate(lab, vm, availability_zone="az1")
    lab.run()
    assert lab.ledger.show(vm).host == "h2"
    migrate(lab, vm)
    lab.run()
    assert lab.ledger.show(vm).host in ("h1", "h3")


def test_a_failed_move_leaves_the_machine_where_it_was_and_the_copy_to_be_removed(
    lab: Lab,
) -> None:
    vm = stopped(lab)
    action = migrate(lab, vm, host="h2")
    lab.run("h1")
    order = lab.started("h2")
    lab.agents["h2"].finish(order, HypervisorError("The link broke."), Seen.GONE)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state, shown.host) == ("stopped", None, "h1")
    assert shown.fault["details"] == "The link broke."
    assert lab.claims(vm) == {("h1", "compute"), ("h1", "disk")}
    assert lab.left() == {("h2", "disk")}
    assert lab.steps(action)[1] == ("fetch", "h2", "failed")
    assert "cleaning up" in refused(lab, vm, host="h2").message
    lab.pass_time(6)
    lab.run()
    assert lab.left() == set()
    migrate(lab, vm, host="h2")
    lab.run()
    assert lab.ledger.show(vm).host == "h2"


def test_after_a_failed_move_the_machine_starts_at_home(lab: Lab) -> None:
    vm = stopped(lab)
    migrate(lab, vm, host="h2")
    lab.run("h1")
    lab.agents["h2"].finish(lab.started("h2"), HypervisorError("The link broke."), Seen.GONE)
    lab.ledger.do(vm, "os-start")
    lab.run("h1")
    assert lab.ledger.show(vm).vm_state == "active"
    assert lab.world.machines["h1"].seen(vm) == Seen.RUNNING
    lab.world.machines["h1"].domains[vm].seen = Seen.PAUSED
    lab.agents["h1"].report(vm, lab.ledger.instance(vm).last_action)
    assert lab.ledger.show(vm).vm_state == "paused"


def test_a_guest_that_runs_though_it_should_not_is_ended_before_its_disk_is_read(
    lab: Lab,
) -> None:
    vm = stopped(lab)
    lab.world.machines["h1"].domains[vm].seen = Seen.RUNNING
    migrate(lab, vm, host="h2")
    lab.run("h1")
    assert lab.world.machines["h1"].seen(vm) == Seen.GONE
    assert lab.waiting("h2")
    lab.run()
    assert (lab.ledger.show(vm).host, lab.ledger.show(vm).vm_state) == ("h2", "stopped")


def test_a_target_that_dies_before_it_began_gives_the_move_to_another_host(lab: Lab) -> None:
    vm = stopped(lab)
    action = migrate(lab, vm)
    lab.run("h1")
    target = lab.steps(action)[1][1]
    lab.kill(target)
    lab.run(*(lab.agents.keys() - {target}))
    assert lab.ledger.show(vm).host == ({"h2", "h3"} - {target}).pop()
    assert [kind for kind, _, _ in lab.steps(action)] == ["power_off", "fetch", "discard"]


def test_a_machine_that_runs_is_not_moved_so(lab: Lab) -> None:
    error = refused(lab, lab.active("h1"))
    assert isinstance(error, InvalidState)
    assert "must be powered_off or stopped" in error.message


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"host": "h9"}, "host: The host h9 does not exist"),
        ({"host": "h1"}, "is on host h1 already"),
        ({"availability_zone": "az9"}, "availability_zone: The zone az9 does not exist"),
    ],
)
def test_a_target_that_cannot_be_is_named(lab: Lab, params: dict[str, str], said: str) -> None:
    error = refused(lab, stopped(lab), **params)
    assert isinstance(error, BadRequest)
    assert said in error.message


def test_why_no_host_can_take_it_is_said(lab: Lab) -> None:
    vm = stopped(lab)
    lab.ledger.pause("h2", "why")
    lab.ledger.change(Host, "h3", memory_mb=0)
    error = refused(lab, vm)
    assert isinstance(error, NoValidHost)
    assert "not enough memory (1); paused (1); the host that it leaves (1)" in error.message


def test_only_administrators_move_machines(lab: Lab) -> None:
    answer = lab.ledger.ask(stopped(lab), "migrate")
    assert isinstance(answer, Forbidden)


def test_a_machine_that_is_deleted_while_it_moves_is_gone_from_both_hosts(lab: Lab) -> None:
    vm = stopped(lab)
    migrate(lab, vm, host="h2")
    lab.run("h1")
    lab.started("h2")
    lab.ledger.do(vm, "delete")
    assert lab.claims(vm) == {("h1", "compute"), ("h1", "disk"), ("h2", "disk")}
    assert lab.ledger.violations() == []
    lab.run()
    assert lab.ledger.instance(vm).deleted
    assert lab.claims(vm) == set()
    assert [lab.world.machines[name].found() for name in ("h1", "h2")] == [[], []]
