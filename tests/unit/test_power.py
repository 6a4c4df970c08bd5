"""Power off here, power on there: what is released, what stays, what a failure leaves."""

from __future__ import annotations

import pytest

from conductor.db.models import Host, Image, Instance
from paddock.actions import Seen
from paddock.errors import (
    HypervisorError,
    InvalidPowerState,
    NoValidHost,
    PaddockError,
    ZoneUnavailable,
)
from tests.fixtures.lab import Lab
from tests.fixtures.ledger import image


def refused(lab: Lab, vm: str, verb: str = "vm-poweron", **params: str) -> PaddockError:
    answer = lab.ledger.ask(vm, verb, **params)
    assert isinstance(answer, PaddockError), answer
    return answer


def test_power_off_releases_the_host_and_keeps_the_disk_with_its_claim(lab: Lab) -> None:
    vm = lab.active("h1")
    ports = lab.ledger.show(vm).ports
    lab.ledger.do(vm, "vm-poweroff")
    lab.run()
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.power_state, shown.disk_host) == ("powered_off", 10, "h1")
    assert lab.claimed("h1") == (0, 0, 1)
    assert lab.claims(vm) == {("h1", "disk")}
    assert shown.ports == ports


def test_power_on_elsewhere_moves_disk_and_claims_and_zone(lab: Lab) -> None:
    vm = lab.off("h1")
    ports = lab.ledger.show(vm).ports
    ticket = lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    assert lab.claims(vm) == {("h1", "disk"), ("h3", "disk"), ("h3", "compute")}
    lab.run()
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host, shown.disk_host, shown.zone) == (
        "active",
        "h3",
        "h3",
        "az2",
    )
    assert shown.generation == 2
    assert shown.ports == ports
    assert lab.claims(vm) == {("h3", "disk"), ("h3", "compute")}
    assert lab.claimed("h1") == (0, 0, 0)
    assert lab.steps(ticket.action_id) == [
        ("fetch", "h3", "succeeded"), ("launch", "h3", "succeeded"), ("discard", "h1", "succeeded"),
    ]  # fmt: skip
    assert lab.world.machines["h1"].found() == []


def test_a_machine_boots_its_kernel_at_every_launch_and_its_first_disk_is_made_once(
    lab: Lab,
) -> None:
    kernel = lab.ledger.add(image(lab.ledger.new_id(), "vmlinuz"))
    boot = {"kernel_id": kernel.id, "os_command_line": "quiet"}
    lab.ledger.change(Image, lab.ledger.image.id, properties=boot)
    (ticket,) = lab.ledger.create()
    first = lab.started(str(ticket.host))
    lab.agents[str(ticket.host)].do(first)
    lab.ledger.do(ticket.instance_id, "vm-poweroff")
    lab.run()
    lab.ledger.do(ticket.instance_id, "vm-poweron")
    again = lab.started(str(ticket.host))
    assert first.guest.image.file == "guest.img"
    assert again.guest.image is None
    assert first.guest.boot.kernel.id == again.guest.boot.kernel.id == kernel.id
    assert first.guest.boot.kernel.ticket != again.guest.boot.kernel.ticket
    assert (again.guest.boot.kernel.file, again.guest.boot.command_line) == ("vmlinuz", "quiet")


@pytest.mark.parametrize("params", [{}, {"availability_zone": "az1"}])
def test_power_on_prefers_the_host_with_the_disk(lab: Lab, params: dict[str, str]) -> None:
    vm = lab.off("h1")
    ticket = lab.ledger.do(vm, "vm-poweron", **params)
    lab.run()
    assert lab.steps(ticket.action_id) == [("launch", "h1", "succeeded")]
    assert lab.ledger.show(vm).generation == 1


def test_a_disk_that_no_longer_fits_its_host_is_powered_on_there(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.change(Host, "h1", disk_gb=0)
    lab.ledger.do(vm, "vm-poweron", availability_zone="az1")
    lab.run()
    assert lab.ledger.show(vm).host == "h1"


def test_os_start_of_a_powered_off_machine_is_power_on_without_a_zone(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "os-start")
    lab.run()
    assert lab.ledger.show(vm).vm_state == "active"


def test_a_wrong_power_state_is_a_bad_request(lab: Lab) -> None:
    vm = lab.active()
    assert isinstance(refused(lab, vm), InvalidPowerState)
    off = lab.off()
    assert isinstance(refused(lab, off, "vm-poweroff"), InvalidPowerState)


def test_a_zone_that_is_unknown_or_full_is_a_bad_request_that_says_why(lab: Lab) -> None:
    vm = lab.off("h1")
    assert isinstance(refused(lab, vm, availability_zone="moon"), ZoneUnavailable)
    lab.ledger.change(Host, "h3", memory_mb=100)
    answer = refused(lab, vm, availability_zone="az2")
    assert isinstance(answer, ZoneUnavailable)
    assert "not enough memory (1)" in answer.message


def test_when_the_disk_is_on_a_dead_host_nothing_changes(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.kill("h1")
    before = lab.ledger.show(vm)
    answer = refused(lab, vm, availability_zone="az2")
    assert isinstance(answer, ZoneUnavailable)
    assert "h1" in answer.message
    assert isinstance(refused(lab, vm, "os-start"), NoValidHost)
    assert lab.ledger.show(vm) == before
    assert lab.claims(vm) == {("h1", "disk")}


def test_the_order_of_a_move_names_each_disk_by_its_generation(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    fetch = lab.started("h3")
    assert (fetch.disk_generation, fetch.source.generation, fetch.source.host) == (2, 1, "h1")
    assert fetch.guest.image is None
    lab.agents["h3"].do(fetch)
    launch = lab.started("h3")
    assert (launch.disk_generation, launch.guest.generation) == (2, 2)
    lab.agents["h3"].do(launch)
    discard = lab.started("h1")
    assert (discard.disk_generation, discard.guest.generation) == (1, 2)


def test_a_machine_is_free_for_the_next_action_once_it_runs(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.run("h3")
    assert lab.ledger.show(vm).task_state is None
    lab.ledger.do(vm, "vm-poweroff")
    lab.run("h3")
    lab.ledger.change(Host, "h2", disabled=True)
    answer = refused(lab, vm, availability_zone="az1")
    assert "cleaning up after this machine (1)" in answer.message
    lab.ledger.change(Host, "h2", disabled=False)
    lab.run()
    lab.ledger.do(vm, "vm-poweron", availability_zone="az1")
    lab.run()
    assert lab.ledger.show(vm).zone == "az1"


def test_a_failed_copy_leaves_the_machine_off_where_it_was(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    fetch = lab.started("h3")
    lab.agents["h3"].finish(fetch, HypervisorError("cut off"), Seen.GONE)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host, shown.task_state) == ("powered_off", "h1", None)
    assert lab.claims(vm) == {("h1", "disk")}
    assert lab.left() == {("h3", "disk")}
    assert "cleaning up" in refused(lab, vm, availability_zone="az2").message
    lab.run()
    assert lab.left() == set()
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.run()
    assert lab.ledger.show(vm).host == "h3"


def test_a_copy_that_was_given_up_is_never_taken_for_a_later_one(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    fetch = lab.started("h3")
    lab.world.machines["h3"].disks[vm] = {fetch.disk_generation: 0}
    lab.agents["h3"].finish(fetch, HypervisorError("late"), Seen.GONE)
    lab.run()
    assert lab.world.machines["h3"].found() == []
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    assert lab.started("h3").disk_generation == fetch.disk_generation + 1


def test_a_failed_launch_after_a_move_goes_back_to_the_old_disk(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h3"].do(lab.started("h3"))
    launch = lab.started("h3")
    assert lab.ledger.instance(vm).host == "h3"
    lab.agents["h3"].finish(launch, HypervisorError("no KVM"), Seen.GONE)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host, shown.disk_host) == ("powered_off", "h1", "h1")
    lab.run()
    assert lab.world.machines["h3"].found() == []
    lab.ledger.do(vm, "vm-poweron")
    lab.run()
    assert lab.ledger.show(vm).host == "h1"


def test_a_launch_nobody_saw_end_bars_every_host_until_its_own_has_reported(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h3"].do(lab.started("h3"))
    lab.started("h3")
    lab.pass_time(200)
    assert lab.left() == {("h3", "guest")}
    assert lab.ledger.show(vm).vm_state == "powered_off"
    assert "has not reported" in refused(lab, vm).message
    lab.run("h3")
    assert lab.ledger.show(vm).disk_host == "h3"
    lab.run()
    lab.ledger.do(vm, "vm-poweron")
    lab.run()
    assert lab.ledger.show(vm).vm_state == "active"


def test_a_launch_that_came_through_unheard_is_adopted(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h3"].do(lab.started("h3"))
    launch = lab.started("h3")
    lab.world.launch(lab.world.machines["h3"], launch)
    lab.pass_time(200)
    lab.run("h3")
    lab.run("h1")
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host, shown.zone) == ("active", "h3", "az2")
    assert lab.claims(vm) == {("h3", "disk"), ("h3", "compute")}
    assert lab.left() == set()


def test_a_move_that_a_later_action_completes_leaves_no_old_copy(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    agent = lab.agents["h3"]
    agent.do(lab.started("h3"))
    agent.finish(lab.started("h3"), HypervisorError("it hangs"), Seen.OFF)
    lab.ledger.do(vm, "os-resetState", ctxt=lab.ledger.admin, state="active")
    lab.ledger.change(Instance, vm, vm_state="stopped")
    lab.ledger.do(vm, "os-start")
    lab.run()
    lab.pass_time(9)
    lab.run()
    assert lab.ledger.show(vm).disk_host == "h3"
    assert lab.world.machines["h1"].found() == []
    assert lab.claims(vm) == {("h3", "disk"), ("h3", "compute")}
    assert lab.left() == set()


def test_an_overdue_discard_becomes_a_leftover_and_fails_nothing(lab: Lab) -> None:
    vm = lab.off("h1")
    ticket = lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.run("h3")
    lab.pass_time(200)
    assert lab.steps(ticket.action_id)[2] == ("discard", "h1", "failed")
    assert lab.ledger.show(vm).vm_state == "active"
    assert lab.left() == {("h1", "disk")}
    assert ("h1", "disk") in lab.claims(vm)
    lab.run()
    assert lab.left() == set()
    assert lab.claimed("h1") == (0, 0, 0)
    assert lab.world.machines["h1"].found() == []
