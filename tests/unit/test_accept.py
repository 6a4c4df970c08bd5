"""Accept: one order of checks, one answer per id, and nothing changed by a refusal."""

from __future__ import annotations

import msgspec
import pytest

from conductor.db.models import Action, Host, Instance, User
from paddock.actions import ACTIONS
from paddock.context import RequestContext
from paddock.errors import (
    BadRequest,
    Forbidden,
    HostPaused,
    HostUnavailable,
    InstanceBusy,
    InstanceLocked,
    InvalidState,
    NotFound,
    NoValidHost,
    PaddockError,
    ServiceUnavailable,
    Unauthorized,
    Unsupported,
)
from paddock.records import AcceptRequest, Listing, Ticket
from tests.fixtures.lab import Lab


def refusal(answer: Ticket | PaddockError) -> PaddockError:
    assert isinstance(answer, PaddockError), answer
    return answer


def reader(lab: Lab) -> RequestContext:
    return lab.ledger.user("looker", "demo", "reader")


def test_a_repeated_id_gets_the_same_ticket_and_no_second_action(lab: Lab) -> None:
    vm = lab.active()
    first = lab.ledger.do(vm, "pause", action_id="a1")
    assert lab.ledger.do(vm, "pause", action_id="a1") == first
    lab.run()
    assert isinstance(lab.ledger.do(vm, "pause", action_id="a1"), Ticket)
    assert lab.ledger.show(vm).vm_state == "paused"


def test_a_repeated_id_gets_the_same_refusal_though_it_would_be_accepted_now(lab: Lab) -> None:
    vm = lab.active()
    first = refusal(lab.ledger.ask(vm, "unpause", action_id="a1"))
    lab.ledger.do(vm, "pause")
    lab.run()
    again = refusal(lab.ledger.ask(vm, "unpause", action_id="a1"))
    assert (type(again), again.message) == (type(first), first.message)


def test_an_ended_token_is_no_answer_to_the_request_itself(lab: Lab) -> None:
    vm, key = lab.active(), lab.ledger.new_id()
    ended = msgspec.structs.replace(lab.ledger.member, user_epoch=0)
    assert isinstance(refusal(lab.ledger.ask(vm, "pause", ended, action_id=key)), Unauthorized)
    lab.ledger.do(vm, "pause", action_id=key)


def test_an_id_names_one_wish_only(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "pause", action_id="a1", fingerprint="x")
    assert isinstance(lab.ledger.ask(vm, "pause", action_id="a1", fingerprint="y"), BadRequest)
    assert isinstance(
        lab.ledger.ask(vm, "pause", lab.ledger.admin, action_id="a1", fingerprint="x"), BadRequest
    )


def test_refused_actions_are_not_shown(lab: Lab) -> None:
    vm = lab.active()
    refusal(lab.ledger.ask(vm, "unpause"))
    assert lab.ledger.row(Instance, vm).busy is None
    page = lab.ledger.api.list_actions(lab.ledger.member, vm, Listing())
    assert [action.verb for action in page] == ["create"]


def test_another_projects_instance_is_not_there(lab: Lab) -> None:
    vm = lab.active()
    stranger = lab.ledger.user("stranger", "elsewhere")
    assert isinstance(lab.ledger.ask(vm, "pause", stranger), NotFound)
    assert isinstance(lab.ledger.ask(lab.ledger.new_id(), "pause"), NotFound)


def test_a_token_ends_with_its_users_epoch(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.change(User, lab.ledger.member.user_id, epoch=2)
    assert isinstance(lab.ledger.ask(vm, "pause"), Unauthorized)
    with pytest.raises(Unauthorized):
        lab.ledger.api.get_instance(lab.ledger.member, vm)
    with pytest.raises(Unauthorized):
        lab.ledger.api.list_instances(lab.ledger.member, Listing())


@pytest.mark.parametrize(("verb", "status"), [("pause", 403), ("vm-poweroff", 400)])
def test_a_reader_may_not_act(lab: Lab, verb: str, status: int) -> None:
    assert refusal(lab.ledger.ask(lab.active(), verb, reader(lab))).status == status


def test_an_unknown_action_is_refused(lab: Lab) -> None:
    vm = lab.active()
    assert isinstance(lab.ledger.ask(vm, "dance"), BadRequest)
    assert isinstance(lab.ledger.ask(vm, "create"), BadRequest)


def test_a_lock_refuses_its_owner_with_the_reason_and_lets_administrators_pass(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "lock", locked_reason="billing")
    answer = refusal(lab.ledger.ask(vm, "pause"))
    assert isinstance(answer, InstanceLocked)
    assert "billing" in answer.message
    assert isinstance(lab.ledger.ask(vm, "pause", lab.ledger.admin), Ticket)
    lab.run()
    lab.ledger.do(vm, "unlock")
    lab.ledger.do(vm, "unpause")


@pytest.mark.parametrize("verb", [verb for verb in ACTIONS if verb != "create"])
def test_a_locked_machine_refuses_its_owner_whatever_is_asked(lab: Lab, verb: str) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "lock", ctxt=lab.ledger.admin, locked_reason="seized")
    before = lab.ledger.show(vm)
    answer = refusal(lab.ledger.ask(vm, verb))
    only_administrators = verb in ("migrate", "os-migrateLive", "os-resetState")
    assert isinstance(answer, Forbidden if only_administrators else InstanceLocked)
    lab.run()
    assert lab.ledger.show(vm) == before


@pytest.mark.parametrize("change", ["metadata", "set_metadata", "unset_metadata"])
def test_a_lock_keeps_the_metadata_and_not_the_name(lab: Lab, change: str) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "lock")
    value = "a" if change == "unset_metadata" else {"a": "b"}
    with pytest.raises(InstanceLocked):
        lab.ledger.api.update_instance(lab.ledger.member, vm, {change: value})
    lab.ledger.api.update_instance(lab.ledger.member, vm, {"name": "other"})
    assert lab.ledger.show(vm).name == "other"


def test_only_an_administrator_lifts_an_administrators_lock(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "lock", ctxt=lab.ledger.admin, locked_reason="seized")
    assert isinstance(lab.ledger.ask(vm, "unlock"), InstanceLocked)
    assert isinstance(lab.ledger.ask(vm, "lock"), InstanceLocked)
    lab.ledger.do(vm, "unlock", ctxt=lab.ledger.admin)
    lab.ledger.do(vm, "pause")


def test_a_busy_instance_can_be_locked_but_not_asked_for_more(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "suspend")
    answer = refusal(lab.ledger.ask(vm, "pause"))
    assert isinstance(answer, InstanceBusy)
    assert "suspend" in answer.message
    lab.ledger.do(vm, "lock")
    lab.run()
    assert lab.ledger.show(vm).vm_state == "suspended"


def test_a_paused_host_refuses_users_with_the_reason_and_lets_administrators_pass(
    lab: Lab,
) -> None:
    vm = lab.active()
    lab.ledger.pause("h1", "new memory")
    answer = refusal(lab.ledger.ask(vm, "pause"))
    assert isinstance(answer, HostPaused)
    assert "new memory" in answer.message
    lab.ledger.do(vm, "pause", ctxt=lab.ledger.admin)


def test_the_lock_comes_before_the_pause_and_that_before_the_state(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.pause("h1", "why")
    lab.ledger.do(vm, "lock", ctxt=lab.ledger.admin)
    assert isinstance(lab.ledger.ask(vm, "unpause"), InstanceLocked)
    lab.ledger.do(vm, "unlock", ctxt=lab.ledger.admin)
    assert isinstance(lab.ledger.ask(vm, "unpause"), HostPaused)
    lab.ledger.change(Host, "h1", paused=0)
    assert isinstance(lab.ledger.ask(vm, "unpause"), InvalidState)


def test_a_host_that_is_not_up_is_given_no_work(lab: Lab) -> None:
    vm = lab.active()
    lab.kill("h1")
    assert isinstance(lab.ledger.ask(vm, "pause"), HostUnavailable)
    lab.ledger.do(vm, "lock")


def test_work_for_a_host_that_is_coming_back_may_be_asked_for_again(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.ledger.change(Host, "h1", state="reconciling")
    request = AcceptRequest(action_id="a1", instance_id=vm, verb="pause", params={})
    (refusal,) = lab.ledger.api.accept(lab.ledger.member, [request])
    assert isinstance(refusal, ServiceUnavailable) and "coming back" in refusal.message
    lab.ledger.change(Host, "h1", state="up")
    (ticket,) = lab.ledger.api.accept(lab.ledger.member, [request])
    assert isinstance(ticket, Ticket)


def test_what_the_hypervisor_cannot_is_refused(lab: Lab) -> None:
    vm = lab.active()
    host = lab.host("h1")
    lab.ledger.change(Host, "h1", facts=host.facts | {"capabilities": []})
    assert isinstance(lab.ledger.ask(vm, "suspend"), Unsupported)


def test_one_bad_item_of_a_batch_fails_alone(lab: Lab) -> None:
    one, two = lab.active(), lab.active()
    wishes = [
        AcceptRequest(action_id=f"b{n}", instance_id=vm, verb=verb, params={})
        for n, (vm, verb) in enumerate([(one, "unpause"), (two, "pause"), (one, "pause")])
    ]
    answers = lab.ledger.api.accept(lab.ledger.member, wishes)
    assert [isinstance(answer, Ticket) for answer in answers] == [False, True, True]


def test_a_refusal_changes_nothing(lab: Lab) -> None:
    vm = lab.off()
    before = lab.ledger.show(vm), lab.claims(vm), lab.claimed("h3")
    for params in ({"availability_zone": "moon"}, {"availability_zone": "az2"}):
        lab.ledger.change(Host, "h3", disabled=True)
        refusal(lab.ledger.ask(vm, "vm-poweron", **params))
    lab.ledger.change(Host, "h3", disabled=False)
    assert (lab.ledger.show(vm), lab.claims(vm), lab.claimed("h3")) == before


def test_reset_state_frees_a_busy_instance(lab: Lab) -> None:
    vm = lab.active()
    ticket = lab.ledger.do(vm, "pause")
    lab.ledger.do(vm, "os-resetState", ctxt=lab.ledger.admin, state="active")
    assert lab.ledger.row(Action, ticket.action_id).status == "superseded"
    assert lab.waiting("h1") == []
    lab.ledger.do(vm, "pause")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"paused": 1}, "paused"),
        ({"disabled": True}, "disabled"),
        ({"forced_down": True}, "down"),
        ({"memory_mb": 1}, "not enough memory"),
    ],
)
def test_a_host_that_cannot_take_its_machine_back_says_why(
    lab: Lab, changes: dict[str, int], reason: str
) -> None:
    vm = lab.off("h1")
    lab.ledger.change(Host, "h1", **changes)
    answer = refusal(lab.ledger.ask(vm, "os-resetState", lab.ledger.admin, state="active"))
    assert isinstance(answer, NoValidHost)
    assert answer.message == f"Host h1 cannot take instance {vm}: {reason}."
