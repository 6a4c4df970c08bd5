"""Delete always works: while busy, on dead hosts, again and again."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from conductor.db.models import Action, Host, Port, Project
from paddock.actions import Seen
from paddock.errors import HypervisorError, InvalidState, NotFound, StepRefused
from paddock.records import Listing
from tests.fixtures.lab import Lab


def gone(lab: Lab, vm: str) -> bool:
    """Whether only the tombstone is there, and nothing is held any more."""
    project = lab.ledger.row(Project, lab.ledger.member.project_id)
    row = lab.ledger.instance(vm)
    return row.deleted and lab.claims(vm) == set() and project.used_instances == 0


def ports(lab: Lab) -> list[Port]:
    return lab.ledger.rows(sa.select(Port))


def test_a_deleted_machine_leaves_a_tombstone_and_nothing_else(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "delete")
    assert lab.ledger.show(vm).task_state == "deleting"
    lab.run()
    assert gone(lab, vm)
    assert ports(lab) == []
    with pytest.raises(NotFound):
        lab.ledger.show(vm)
    assert isinstance(lab.ledger.ask(vm, "delete"), NotFound)
    assert lab.world.machines["h1"].found() == []
    history = lab.ledger.api.list_actions(lab.ledger.member, vm, Listing())
    assert [action.verb for action in history] == ["delete", "create"]


def test_delete_ends_what_is_going_on(lab: Lab) -> None:
    vm = lab.active()
    pause = lab.ledger.do(vm, "pause")
    order = lab.started("h1")
    lab.ledger.do(vm, "delete")
    ended = lab.ledger.row(Action, pause.action_id)
    assert (ended.status, ended.reason) == ("superseded", "It was ended by a later 'delete'.")
    assert not lab.agents["h1"].finish(order)
    lab.run()
    assert gone(lab, vm)


def test_delete_of_a_delete_ends_with_one_tombstone(lab: Lab) -> None:
    vm = lab.active()
    first = lab.ledger.do(vm, "delete")
    lab.ledger.do(vm, "forceDelete")
    lab.run()
    assert lab.ledger.row(Action, first.action_id).status == "superseded"
    assert gone(lab, vm)


def test_delete_of_a_delete_still_cleans_where_the_first_would_have(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    for _ in ("fetch", "launch"):
        lab.agents["h3"].do(lab.started("h3"))
    lab.ledger.do(vm, "delete")
    second = lab.ledger.do(vm, "delete")
    assert {host for _, host, _ in lab.steps(second.action_id)} == {"h1", "h3"}
    lab.run()
    assert gone(lab, vm)
    assert [machine.found() for machine in lab.world.machines.values()] == [[], [], []]


def test_a_create_that_never_started_is_gone_at_once(lab: Lab) -> None:
    (ticket,) = lab.ledger.create()
    assert ticket.host
    (step,) = lab.waiting(ticket.host)
    assert lab.ledger.do(ticket.instance_id, "delete").step_id is None
    assert gone(lab, ticket.instance_id)
    with pytest.raises(StepRefused):
        lab.agents[ticket.host].start(step)


def test_delete_in_the_middle_of_a_move_cleans_both_hosts(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h3"].do(lab.started("h3"))
    lab.started("h3")
    delete = lab.ledger.do(vm, "delete")
    assert {(host, kind) for kind, host, _ in lab.steps(delete.action_id)} == {
        ("h1", "destroy"), ("h3", "destroy"),
    }  # fmt: skip
    lab.run()
    assert gone(lab, vm)
    assert lab.world.machines["h1"].found() == lab.world.machines["h3"].found() == []


def test_delete_after_a_move_cleans_the_source_that_was_not_cleaned_yet(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.run("h3")
    lab.ledger.do(vm, "delete")
    lab.run()
    assert gone(lab, vm)
    assert lab.world.machines["h1"].found() == []


def test_on_a_dead_host_delete_ends_at_once_and_the_host_cleans_up_later(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.kill("h1")
    lab.ledger.do(vm, "delete")
    assert gone(lab, vm)
    assert lab.left() == {("h1", "instance")}
    (port,) = ports(lab)
    assert (port.instance_id, port.quarantine_host) == (None, "h1")
    lab.run("h1")
    assert lab.left() == set()
    assert ports(lab) == []
    assert lab.world.machines["h1"].found() == []
    assert lab.host("h1").state == "up"


def test_a_delete_that_waits_when_its_host_dies_ends_with_the_verdict(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.ledger.do(vm, "delete")
    lab.kill("h1")
    assert gone(lab, vm)
    assert lab.left() == {("h1", "instance")}
    lab.run("h1")
    assert lab.world.machines["h1"].found() == []


def test_addresses_are_free_once_the_dead_host_is_fenced(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.kill("h1")
    lab.ledger.do(vm, "delete")
    assert len(ports(lab)) == 1
    lab.ledger.change(Host, "h1", forced_down=True)
    lab.reaper.round()
    assert ports(lab) == []


@pytest.mark.parametrize("silent", [True, False])
def test_a_host_that_cannot_destroy_holds_up_nothing(lab: Lab, silent: bool) -> None:
    vm = lab.active("h1")
    lab.ledger.do(vm, "delete")
    order = lab.started("h1")
    if silent:
        lab.pass_time(125)
    else:
        lab.agents["h1"].finish(order, HypervisorError("busy"), Seen.RUNNING)
    assert gone(lab, vm)
    assert lab.left() == {("h1", "instance")}
    lab.run("h1")
    assert lab.left() == set()
    assert ports(lab) == []


def test_delete_takes_the_copy_that_was_fetched_but_never_launched(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h3"].do(lab.started("h3"))
    lab.ledger.do(vm, "delete")
    lab.run()
    assert gone(lab, vm)
    assert lab.world.machines["h3"].found() == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_deletion_is_not_taken_back(lab: Lab, begun: bool) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.ledger.do(vm, "delete")
    if begun:
        lab.started("h1")
        lab.ledger.do(vm, "delete")
    refused = lab.ledger.ask(vm, "os-resetState", lab.ledger.admin, state="error")
    assert isinstance(refused, InvalidState)
    lab.run()
    assert gone(lab, vm)
