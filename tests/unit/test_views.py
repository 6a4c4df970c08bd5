"""What users and agents are told: instances, actions, answers, observations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from conductor.db.models import Host, Instance, Query
from conductor.listing import like_pattern
from paddock.actions import Seen
from paddock.context import RequestContext
from paddock.errors import BadRequest, Forbidden, HostUnavailable, NotFound
from paddock.records import Listing, Observation
from tests.fixtures.lab import Lab


def count_statements(fn: Callable[[], object]) -> int:
    """How many statements something sends, those that begin transactions aside."""
    sent: list[str] = []

    def note(*told: Any) -> None:
        sent.append(told[2].split()[0])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        fn()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return sum(verb != "BEGIN" for verb in sent)


def test_each_read_is_one_query(lab: Lab) -> None:
    vm = lab.active()
    lab.active()
    api, member = lab.ledger.api, lab.ledger.member
    assert count_statements(lambda: api.list_instances(member, Listing())) == 1
    assert count_statements(lambda: api.get_instance(member, vm)) == 1
    assert count_statements(lambda: api.list_actions(member, vm, Listing())) == 1
    assert count_statements(lambda: api.get_action(member, vm, "req-1")) == 1


def test_a_heartbeat_is_one_query_and_one_update(lab: Lab) -> None:
    lab.active()
    assert count_statements(lambda: lab.agents["h1"].beat()) == 2


def test_others_machines_are_listed_for_administrators_only(lab: Lab) -> None:
    vm = lab.active()
    everyone = Listing(filters={"all_tenants": True})
    with pytest.raises(Forbidden):
        lab.ledger.api.list_instances(lab.ledger.member, everyone)
    listed = lab.ledger.api.list_instances(lab.ledger.admin, everyone)
    assert [one.id for one in listed] == [vm]
    assert lab.ledger.api.list_instances(lab.ledger.admin, Listing()) == []


def test_deleted_machines_are_listed_when_asked_for(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "delete")
    lab.run()
    list_ = lab.ledger.api.list_instances
    assert list_(lab.ledger.member, Listing()) == []
    (deleted,) = list_(lab.ledger.member, Listing(filters={"deleted": True}))
    assert (deleted.vm_state, deleted.deleted) == ("deleted", True)
    since = {"deleted": None, "changes_since": "2030-01-01T00:00:00Z"}
    assert len(list_(lab.ledger.member, Listing(filters=since))) == 1


@pytest.mark.parametrize(("verb", "shown"), [("reboot-soft", "REBOOT"),
                                             ("reboot-hard", "HARD_REBOOT")])  # fmt: skip
def test_a_machine_is_listed_under_the_status_that_it_shows(
    lab: Lab, verb: str, shown: str
) -> None:
    vm = lab.active()
    lab.ledger.do(vm, verb)

    def listed(status: str) -> list[str]:
        listing = Listing(filters={"status": [status]})
        return [one.id for one in lab.ledger.api.list_instances(lab.ledger.member, listing)]

    assert (listed("ACTIVE"), listed(shown)) == ([], [vm])
    lab.run()
    assert (listed("ACTIVE"), listed(shown)) == ([vm], [])


@pytest.mark.parametrize(
    "listing",
    [
        Listing(filters={"shoe_size": 1}),
        Listing(sort=[("shoe_size", "asc")]),
        Listing(sort=[("name", "up")]),
        Listing(marker="nobody"),
        Listing(filters={"changes_since": "yesterday"}),
    ],
)
def test_nonsense_in_a_listing_is_a_bad_request(lab: Lab, listing: Listing) -> None:
    with pytest.raises(BadRequest):
        lab.ledger.api.list_instances(lab.ledger.member, listing)


def test_pages_of_one_order_are_each_callers_own(lab: Lab) -> None:
    member, admin = lab.ledger.member, lab.ledger.admin
    mine = sorted(lab.active() for _ in range(3))
    (ticket,) = lab.ledger.create(admin)

    def pages(ctxt: RequestContext, limit: int, **filters: Any) -> list[list[str]]:
        found, marker = [["?"]], None
        while found[-1]:
            page = Listing(sort=[("id", "asc")], limit=limit, marker=marker, filters=filters)
            found.append([one.id for one in lab.ledger.api.list_instances(ctxt, page)])
            marker = found[-1][-1] if found[-1] else None
        return found[1:-1]

    assert pages(member, 2) == [mine[:2], mine[2:]]
    assert pages(admin, 2) == [[ticket.instance_id]]
    assert pages(admin, 9, all_tenants=True) == [sorted([*mine, ticket.instance_id])]
    assert pages(member, 1) == [[vm] for vm in mine]
    assert pages(member, 2, host="h1") == [mine[:2], mine[2:]]


def test_what_an_agent_told_is_shown_also_if_it_is_no_number(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.change(Instance, vm, fault={"code": float("nan"), "message": "odd"})
    fault = lab.ledger.show(vm).fault
    assert fault is not None
    assert math.isnan(fault["code"])


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("web", "%web%"),
        ("^web$", "web"),
        ("^web.*1$", "web%1"),
        ("a.c", "%a_c%"),
        (r"a\.c", "%a.c%"),
        ("100%", r"%100\%%"),
        ("(a+)+", "%(a+)+%"),
    ],
)
def test_name_patterns_become_like_patterns(text: str, pattern: str) -> None:
    assert like_pattern(text) == pattern


def test_the_hosts_health_is_shown(lab: Lab) -> None:
    vm = lab.active("h1")
    assert lab.ledger.show(vm).host_status == "UP"
    lab.ledger.change(Host, "h1", disabled=True)
    assert lab.ledger.show(vm).host_status == "MAINTENANCE"
    lab.kill("h1")
    assert lab.ledger.show(vm).host_status == "DOWN"


def test_names_and_metadata_change_and_nothing_else(lab: Lab) -> None:
    vm = lab.active()
    update = lab.ledger.api.update_instance
    shown = update(lab.ledger.member, vm, {"name": "new", "metadata": {"a": "b"}})
    assert (shown.name, shown.metadata) == ("new", {"a": "b"})
    added = update(lab.ledger.member, vm, {"set_metadata": {"a": "c", "d": "e"}})
    assert added.metadata == {"a": "c", "d": "e"}
    assert update(lab.ledger.member, vm, {"unset_metadata": "a"}).metadata == {"d": "e"}
    with pytest.raises(NotFound, match="'a'"):
        update(lab.ledger.member, vm, {"unset_metadata": "a"})
    with pytest.raises(BadRequest, match="at most 128"):
        update(lab.ledger.member, vm, {"set_metadata": {str(n): "" for n in range(128)}})
    with pytest.raises(BadRequest, match="host"):
        update(lab.ledger.member, vm, {"host": "h2"})
    with pytest.raises(Forbidden):
        update(lab.ledger.user("looker", "demo", "reader"), vm, {"name": "x"})


def test_a_question_is_answered_once_and_only_by_its_host(lab: Lab) -> None:
    vm = lab.active("h1")
    api, agents = lab.ledger.api, lab.ledger.agents
    query_id, host = api.ask(lab.ledger.member, vm, "console", {"length": 5})
    assert host == "h1"
    assert api.fetch_answer(lab.ledger.member, query_id) is None
    with pytest.raises(NotFound):
        agents.fetch_query("h2", lab.agents["h2"].epoch, query_id)
    order = agents.fetch_query("h1", lab.agents["h1"].epoch, query_id)
    assert (order.instance_id, order.params) == (vm, {"length": 5})
    agents.answer("h2", lab.agents["h2"].epoch, query_id, {"ok": {"output": "forged"}})
    for said in ("first", "second"):
        agents.answer("h1", lab.agents["h1"].epoch, query_id, {"ok": {"output": said}})
    with pytest.raises(Forbidden):
        api.fetch_answer(lab.ledger.user("stranger", "elsewhere"), query_id)
    assert api.fetch_answer(lab.ledger.member, query_id) == {"ok": {"output": "first"}}
    assert lab.ledger.rows(sa.select(Query)) == []


def test_a_question_that_nobody_fetches_is_forgotten(lab: Lab) -> None:
    lab.ledger.api.ask(lab.ledger.member, lab.active("h1"), "console", {})
    lab.pass_time(66)
    assert lab.ledger.rows(sa.select(Query)) == []


def test_a_question_to_a_host_that_is_not_up_is_refused(lab: Lab) -> None:
    vm = lab.active("h1")
    lab.kill("h1")
    with pytest.raises(HostUnavailable):
        lab.ledger.api.ask(lab.ledger.member, vm, "console", {})


def test_what_an_idle_guest_does_by_itself_is_seen(lab: Lab) -> None:
    vm = lab.active("h1")
    machine = lab.world.machines["h1"]
    machine.domains[vm].seen = Seen.OFF
    lab.agents["h1"].report(vm, machine.last[vm])
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.power_state) == ("stopped", 4)


def test_what_did_not_change_costs_one_query_however_much_it_is(lab: Lab) -> None:
    vms = [lab.active("h1") for _ in range(4)]
    agent = lab.agents["h1"]
    seen = [Observation(instance_id=vm, generation=1, seen=Seen.RUNNING) for vm in vms]
    report = agent.conductor.report
    few = count_statements(lambda: report("h1", agent.epoch, seen[:1]))
    assert few == count_statements(lambda: report("h1", agent.epoch, seen))


@pytest.mark.parametrize("stale", ["action", "host", "generation", "busy"])
def test_what_was_seen_before_is_not_believed_after(lab: Lab, stale: str) -> None:
    vm = lab.active("h1")
    agent, machine = lab.agents["h1"], lab.world.machines["h1"]
    machine.domains[vm].seen = Seen.PAUSED
    last = machine.last[vm]
    if stale == "action":
        agent.report(vm, "an older action")
    elif stale == "host":
        lab.agents["h2"].report(vm, last)
    elif stale == "generation":
        machine.domains[vm].generation = 0
        agent.report(vm, last)
    else:
        lab.ledger.do(vm, "suspend")
        agent.report(vm, last)
    assert lab.ledger.show(vm).vm_state == "active"
