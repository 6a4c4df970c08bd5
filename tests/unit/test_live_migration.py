"""Moving a machine that runs: where it goes, what stays, who has it after what goes wrong."""

from __future__ import annotations

from typing import Any

import pytest

from conductor.db.models import Host, Instance
from conductor.keeper import KEEPER
from paddock.actions import Seen
from paddock.errors import (
    BadRequest,
    Forbidden,
    GuestHung,
    HostUnavailable,
    HypervisorError,
    InvalidState,
    NoValidHost,
    PaddockError,
    Unsupported,
)
from paddock.records import HostFacts, Resources
from tests.fixtures.lab import Lab
from tests.fixtures.model_agent import ALL, Domain

VERB = "os-migrateLive"
BROKE = HypervisorError("The link broke.")


def move(lab: Lab, vm: str, **params: Any) -> str:
    return lab.ledger.do(vm, VERB, ctxt=lab.ledger.admin, **params).action_id


def refused(lab: Lab, vm: str, **params: Any) -> PaddockError:
    answer = lab.ledger.ask(vm, VERB, lab.ledger.admin, **params)
    assert isinstance(answer, PaddockError), answer
    return answer


def sending(lab: Lab, vm: str) -> Any:
    """The order of a move to h2 that is being sent from h1."""
    move(lab, vm, host="h2")
    lab.run("h2")
    return lab.started("h1")


def hand_over(lab: Lab, vm: str, seen: Seen = Seen.RUNNING) -> None:
    """What hypervisors do by themselves."""
    here, there = lab.world.machines["h1"], lab.world.machines["h2"]
    del here.domains[vm]
    there.disks[vm][2] = here.disks[vm][1]
    there.domains[vm] = Domain(2, seen, "it")


def rest(lab: Lab) -> None:
    """Let hosts tell what they have, and remove what is not theirs."""
    for _ in range(3):
        lab.pass_time(6)
        lab.run()


def running(lab: Lab, vm: str) -> list[str]:
    return [name for name, one in lab.world.machines.items() if one.seen(vm) is Seen.RUNNING]


def test_a_machine_that_runs_moves_with_all_that_it_has(lab: Lab) -> None:
    vm = lab.active("h1")
    ports = lab.ledger.show(vm).ports
    action = move(lab, vm, host="h3", block_migration="auto")
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state, shown.host) == ("active", "migrating", "h1")
    assert lab.claims(vm) == {(host, kind) for host in ("h1", "h3") for kind in ("compute", "disk")}
    lab.run()
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state, shown.power_state) == ("active", None, 1)
    assert (shown.host, shown.disk_host, shown.zone, shown.generation) == ("h3", "h3", "az2", 2)
    assert shown.ports == ports
    assert lab.claims(vm) == {("h3", "compute"), ("h3", "disk")}
    assert lab.claimed("h1") == (0, 0, 0)
    assert lab.steps(action) == [
        ("receive", "h3", "succeeded"), ("send", "h1", "succeeded"),
        ("arrive", "h3", "succeeded"), ("discard", "h1", "succeeded"),
    ]  # fmt: skip
    assert lab.world.machines["h1"].found() == []
    assert running(lab, vm) == ["h3"]


def test_it_has_its_room_at_home_until_it_has_arrived(lab: Lab) -> None:
    vm = lab.active("h1")
    order = sending(lab, vm)
    lab.agents["h1"].do(order)
    assert ("h1", "compute") in lab.claims(vm)
    assert lab.ledger.show(vm).host == "h1"
    assert lab.ledger.violations() == []


def test_the_orders_say_what_each_host_is_to_have(lab: Lab) -> None:
    vm = lab.active("h1")
    move(lab, vm, host="h2")
    receive = lab.started("h2")
    assert (receive.guest.generation, receive.disk_generation) == (2, 2)
    assert receive.guest.ports
    lab.agents["h2"].do(receive)
    send = lab.started("h1")
    assert send.landing is not None
    assert (send.landing.host, send.landing.address) == ("h2", "address-h2")
    assert send.landing.directory == "/landing/h2"
    assert (send.guest.generation, send.disk_generation) == (1, 2)


def test_without_a_host_asked_for_it_goes_to_any_other(lab: Lab) -> None:
    vm = lab.active("h1")
    move(lab, vm, host=None)
    lab.run()
    assert lab.ledger.show(vm).host in ("h2", "h3")


def test_when_the_target_cannot_make_room_the_machine_runs_on(lab: Lab) -> None:
    vm = lab.active("h1")
    before = lab.ledger.instance(vm).last_action
    move(lab, vm, host="h2")
    lab.agents["h2"].finish(lab.started("h2"), BROKE, Seen.GONE)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state, shown.host) == ("active", None, "h1")
    assert lab.claims(vm) == {("h1", "compute"), ("h1", "disk")}
    assert lab.left() == {("h2", "disk")}
    assert "cleaning up" in refused(lab, vm, host="h2").message
    rest(lab)
    assert lab.left() == set()
    lab.world.machines["h1"].domains[vm].seen = Seen.PAUSED
    lab.agents["h1"].report(vm, before)
    assert lab.ledger.show(vm).vm_state == "paused"


def test_when_sending_fails_and_the_guest_runs_at_home_it_stays_there(lab: Lab) -> None:
    vm = lab.active("h1")
    order = sending(lab, vm)
    lab.agents["h1"].finish(order, BROKE, Seen.RUNNING)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.task_state, shown.host) == ("active", None, "h1")
    assert lab.left() == {("h2", "disk")}
    lab.world.machines["h1"].domains[vm].seen = Seen.PAUSED
    lab.agents["h1"].report(vm, lab.ledger.instance(vm).last_action)
    assert lab.ledger.show(vm).vm_state == "paused"
    lab.world.machines["h1"].domains[vm].seen = Seen.RUNNING
    lab.agents["h1"].report(vm, lab.ledger.instance(vm).last_action)
    lab.pass_time(6)
    lab.run()
    assert not lab.world.machines["h2"].disks[vm]
    move(lab, vm, host="h2")
    lab.run()
    assert (lab.ledger.show(vm).host, running(lab, vm)) == ("h2", ["h2"])


@pytest.mark.parametrize("seen", [None, Seen.PAUSED, Seen.GONE])
def test_when_nobody_knows_whether_it_was_sent_the_target_is_asked(
    lab: Lab, seen: Seen | None
) -> None:
    vm = lab.active("h1")
    order = sending(lab, vm)
    hand_over(lab, vm)
    lab.agents["h1"].finish(order, GuestHung(), seen)
    assert lab.left() == {("h2", "arrival")}
    for verb in ("reboot-hard", "vm-poweroff", "os-stop", "pause", VERB):
        answer = lab.ledger.ask(vm, verb, lab.ledger.admin)
        assert isinstance(answer, HostUnavailable | InvalidState), verb
    assert lab.ledger.violations() == []
    rest(lab)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host, shown.generation) == ("active", "h2", 2)
    assert lab.claims(vm) == {("h2", "compute"), ("h2", "disk")}
    assert (lab.left(), running(lab, vm)) == (set(), ["h2"])
    assert lab.ledger.violations() == []


def test_what_was_not_sent_runs_on_at_home(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.agents["h1"].finish(sending(lab, vm), GuestHung(), None)
    rest(lab)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host, shown.generation) == ("active", "h1", 1)
    assert lab.claims(vm) == {("h1", "compute"), ("h1", "disk")}
    assert (lab.left(), running(lab, vm)) == (set(), ["h1"])


def test_while_a_guest_is_coming_nothing_is_decided(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.agents["h1"].finish(sending(lab, vm), GuestHung(), None)
    lab.world.machines["h2"].domains[vm] = Domain(2, Seen.PAUSED, "it")
    lab.agents["h2"].worked_on.add(vm)
    rest(lab)
    assert lab.left() == {("h2", "arrival")}
    assert vm in lab.world.machines["h2"].domains
    hand_over(lab, vm)
    lab.agents["h2"].worked_on.clear()
    lab.pass_time(6)
    lab.run()
    assert (lab.ledger.show(vm).host, running(lab, vm)) == ("h2", ["h2"])


def test_a_guest_that_ends_once_it_has_come_is_the_targets(lab: Lab) -> None:
    vm = lab.active("h1")
    order = sending(lab, vm)
    hand_over(lab, vm, Seen.OFF)
    lab.agents["h1"].finish(order, GuestHung(), None)
    rest(lab)
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host) == ("stopped", "h2")
    lab.ledger.do(vm, "os-start")
    lab.run()
    assert running(lab, vm) == ["h2"]


LIVE = [(source, target) for how, source, target in KEEPER if how == "live" and target != "untold"]


@pytest.mark.parametrize(("source", "target"), LIVE)
def test_one_table_says_who_keeps_it(lab: Lab, source: str, target: str) -> None:
    vm = lab.active("h1")
    lab.agents["h1"].finish(sending(lab, vm), GuestHung(), None)
    if target == "guest":
        hand_over(lab, vm)
    elif target == "nothing":
        lab.world.machines["h2"].disks[vm] = {}
    if source == "gone":
        lab.ledger.change(Instance, vm, disk_host="h0", host="h0")
    lab.pass_time(9)
    lab.run("h2")
    homes = {"target": "h2", "source": "h1", "nobody": None}
    shown = lab.ledger.show(vm)
    assert shown.disk_host == homes[KEEPER["live", source, target]]  # type: ignore[index]
    assert shown.vm_state == ("error" if shown.disk_host is None else "active")
    if source == "gone":
        lab.ledger.do(vm, "delete")
        lab.run()


def test_a_target_that_says_that_it_has_not_come_is_asked_once_more(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.agents["h1"].do(sending(lab, vm))
    lab.agents["h2"].finish(lab.started("h2"), BROKE, Seen.GONE)
    assert lab.ledger.show(vm).vm_state == "active"
    rest(lab)
    assert (lab.ledger.show(vm).host, running(lab, vm)) == ("h2", ["h2"])


def test_an_agent_that_dies_while_it_sends_goes_on(lab: Lab) -> None:
    vm = lab.active("h1")
    sending(lab, vm)
    hand_over(lab, vm)
    agent = lab.boot("h1")
    lab.agents["h1"] = agent
    (step,) = [one for one in agent.beat().steps if one.status == "running"]
    assert agent.conductor.hand_back(agent.ref(step), step.epoch)
    lab.run()
    assert (lab.ledger.show(vm).host, running(lab, vm)) == ("h2", ["h2"])


def test_a_target_that_is_fenced_has_nothing_that_runs(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.agents["h1"].finish(sending(lab, vm), GuestHung(), None)
    lab.ledger.change(Host, "h2", forced_down=True)
    lab.reaper.round()
    assert lab.left() == {("h2", "disk")}
    assert lab.claims(vm) == {("h1", "compute"), ("h1", "disk")}


def test_a_target_that_dies_before_it_began_gives_the_move_to_another_host(lab: Lab) -> None:
    vm = lab.active("h1")
    action = move(lab, vm)
    target = lab.steps(action)[0][1]
    lab.kill(target)
    lab.run(*(lab.agents.keys() - {target}))
    assert lab.ledger.show(vm).host == ({"h2", "h3"} - {target}).pop()


def test_a_machine_that_is_deleted_while_it_moves_is_gone_from_both_hosts(lab: Lab) -> None:
    vm = lab.active("h1")
    sending(lab, vm)
    lab.ledger.do(vm, "delete")
    assert lab.ledger.violations() == []
    lab.run()
    assert lab.ledger.instance(vm).deleted
    assert (lab.claims(vm), lab.left()) == (set(), set())
    assert [lab.world.machines[name].found() for name in ("h1", "h2")] == [[], []]


def test_a_reset_while_it_moves_asks_the_target(lab: Lab) -> None:
    vm = lab.active("h1")
    sending(lab, vm)
    hand_over(lab, vm)
    lab.ledger.do(vm, "os-resetState", ctxt=lab.ledger.admin, state="active")
    assert lab.left() == {("h2", "arrival")}
    rest(lab)
    assert (lab.ledger.show(vm).host, running(lab, vm)) == ("h2", ["h2"])


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_a_host_that_cannot_is_neither_source_nor_target_and_it_is_said(
    lab: Lab, host: str
) -> None:
    vm = lab.active("h1")
    agent = lab.agents[host]
    agent.facts = HostFacts(
        resources=Resources(vcpus=8, memory_mb=8192, disk_gb=100), version="1",
        capabilities=[name for name in ALL if name != "live_migration"],
    )  # fmt: skip
    agent.beat()
    error = refused(lab, vm, host="h2")
    if host == "h1":
        assert isinstance(error, Unsupported)
        assert "host h1 cannot os-migrateLive" in error.message
    else:
        assert isinstance(error, NoValidHost)
        assert "cannot take machines that run (1)" in error.message


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"host": "h9"}, "host: The host h9 does not exist"),
        ({"host": "h1"}, "is on host h1 already"),
        ({"block_migration": False}, "block_migration: "),
    ],
)
def test_what_cannot_be_is_named(lab: Lab, params: dict[str, Any], said: str) -> None:
    error = refused(lab, lab.active("h1"), **params)
    assert isinstance(error, BadRequest)
    assert said in error.message


def test_a_disk_of_unknown_size_does_not_move(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.ledger.change(Instance, vm, disk_gb=0)
    assert "the size of the disk" in refused(lab, vm).message


def test_a_machine_that_does_not_run_is_not_moved_so(lab: Lab) -> None:
    error = refused(lab, lab.off("h1"))
    assert isinstance(error, InvalidState)
    assert "must be active" in error.message


def test_only_administrators_move_machines(lab: Lab) -> None:
    assert isinstance(lab.ledger.ask(lab.active("h1"), VERB), Forbidden)
