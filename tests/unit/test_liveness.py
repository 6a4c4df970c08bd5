"""Hosts are judged with care, and what waits on the dead goes on."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from conductor import hosts, liveness
from conductor.db.models import Action, Aggregate, AggregateHost, Host, Step
from conductor.judgement import Proof
from paddock.errors import Conflict, Forbidden, ServiceUnavailable, StaleEpoch
from paddock.records import Hello
from tests.fixtures.lab import Lab
from tests.fixtures.ledger import START
from tests.fixtures.model_agent import Agent, Machine


def hello(lab: Lab, name: str, **values: Any) -> None:
    fields = {
        "epoch": lab.ledger.new_id(), "replaces": None, "machine_id": f"id-{name}", "zone": "az1",
        "facts": lab.agents["h1"].facts,
    }  # fmt: skip
    lab.ledger.agents.hello(Hello(host=name, **(fields | values)))


def test_a_new_host_is_up_when_it_has_reconciled(lab: Lab) -> None:
    agent = Agent(lab.ledger.agents, lab.world, Machine("h4"), lab.ledger.new_id())
    agent.hello()
    assert lab.host("h4").state == "reconciling"
    agent.run()
    assert lab.host("h4").state == "up"


def test_hello_replaces_only_the_process_that_it_names(lab: Lab) -> None:
    last = lab.agents["h1"].epoch
    with pytest.raises(StaleEpoch):
        hello(lab, "h1", replaces=None)
    with pytest.raises(StaleEpoch):
        hello(lab, "h1", replaces=lab.ledger.new_id())
    hello(lab, "h1", replaces=last, epoch="e2")
    hello(lab, "h1", replaces=last, epoch="e2")
    with pytest.raises(StaleEpoch):
        hello(lab, "h1", replaces=last, epoch="e3")


def test_a_host_name_is_bound_to_one_machine(lab: Lab) -> None:
    with pytest.raises(StaleEpoch, match="another machine"):
        hello(lab, "h1", replaces=lab.agents["h1"].epoch, machine_id="other")


def test_a_process_without_a_past_takes_over_from_a_dead_one(lab: Lab) -> None:
    lab.kill("h1")
    hello(lab, "h1", replaces=None)
    assert lab.host("h1").state == "reconciling"


def test_processes_without_a_past_take_over_where_too_many_are_silent_to_be_judged(
    lab: Lab,
) -> None:
    lab.pass_time(9, "h1", "h2")
    with pytest.raises(StaleEpoch):
        hello(lab, "h1", replaces=None)
    lab.pass_time(6, "h1", "h2")
    assert lab.host("h1").state == lab.host("h2").state == "up"
    for name in ("h1", "h2"):
        hello(lab, name, replaces=None)
        assert lab.host(name).state == "reconciling"


def test_an_aggregates_zone_goes_before_the_hosts_own(lab: Lab) -> None:
    lab.ledger.add(Aggregate(id=1, uuid="u", name="a", zone="gold", created_at=START))
    lab.ledger.add(AggregateHost(aggregate_id=1, host="h4"))
    hello(lab, "h4")
    assert lab.host("h4").zone == "gold"


def test_a_silent_host_is_dead_and_reconciles_before_it_is_up_again(lab: Lab) -> None:
    lab.kill("h1")
    assert "reconcile" in lab.agents["h1"].beat().orders
    assert lab.host("h1").state == "reconciling"
    lab.agents["h1"].reconcile()
    assert lab.host("h1").state == "up"
    assert lab.agents["h1"].beat().orders == []


def test_a_heartbeat_whose_host_keeps_changing_may_be_sent_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_note", lambda *_: False)  # SQLite lets nobody come between
    with pytest.raises(ServiceUnavailable, match="h1"):
        lab.agents["h1"].beat()


def test_hosts_that_fall_silent_together_are_not_judged(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.pass_time(15)
    lab.pass_time(60, "h1", "h2")
    assert [lab.host(name).state for name in lab.agents] == ["up", "up", "up"]
    assert caplog.text.count("fell silent at once") == 1
    lab.pass_time(6)
    assert caplog.text.count("No longer are many hosts silent") == 1


def test_hosts_that_fall_silent_one_after_another_are_judged(lab: Lab) -> None:
    lab.kill("h1", "h2")


def test_a_conductor_without_a_proven_path_judges_nobody(lab: Lab) -> None:
    lab.ledger.path_works = False
    lab.pass_time(60, "h1")
    assert lab.host("h1").state == "up"
    lab.ledger.path_works = True
    lab.pass_time(9, "h1")
    assert lab.host("h1").state == "up"
    lab.pass_time(6, "h1")
    assert lab.host("h1").state == "down"


@pytest.mark.parametrize("trouble", ["outage", "jump", "pause"])
def test_an_outage_a_jump_or_a_pause_starts_the_proof_over(trouble: str) -> None:
    at = {"monotonic": 0.0, "works": True}
    proof = Proof(lambda: bool(at["works"]), lambda: at["monotonic"], needed=10)
    now = START

    def second(seconds: float = 1.0, by_database: float | None = None) -> bool:
        nonlocal now
        at["monotonic"] += seconds
        now += datetime.timedelta(seconds=by_database or seconds)
        return proof.holds(now)

    assert [second() for _ in range(11)] == [False] * 10 + [True]
    if trouble == "outage":
        at["works"] = False
        assert [second() for _ in range(3)][-1] is False
        at["works"] = True
    second(6.0 if trouble == "pause" else 1.0, 30.0 if trouble == "jump" else None)
    assert [second() for _ in range(10)] == [False] * 9 + [True]


def test_an_idle_round_only_reads(lab: Lab) -> None:
    lab.pass_time(3)
    writing: list[str] = []
    sa.event.listen(
        lab.ledger.database.writer,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: writing.append(statement),
    )
    lab.reaper.round()
    assert writing == []
    lab.ledger.create()
    lab.reaper.round()
    assert writing
    lab.run()


def test_a_create_that_waits_on_a_dead_host_goes_to_another(lab: Lab) -> None:
    (ticket,) = lab.ledger.create(zone="az1")
    first = ticket.host
    assert first in ("h1", "h2")
    other = "h2" if first == "h1" else "h1"
    lab.kill(first)
    assert lab.ledger.show(ticket.instance_id).host == other
    assert lab.claims(ticket.instance_id) == {(other, "compute"), (other, "disk")}
    assert lab.ledger.hints[-1].host == other
    lab.run(other)
    assert lab.ledger.show(ticket.instance_id).vm_state == "active"


def test_a_move_that_waits_on_a_dead_host_goes_to_another_in_its_zone(lab: Lab) -> None:
    vm = lab.off("h1")
    ticket = lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h4"] = lab.boot("h4", "az2")
    due = first_step(lab, ticket.action_id).deadline
    lab.kill("h3")
    assert lab.steps(ticket.action_id) == [
        ("fetch", "h4", "accepted"), ("launch", "h4", "waiting"), ("discard", "h1", "waiting"),
    ]  # fmt: skip
    assert lab.claims(vm) == {("h1", "disk"), ("h4", "disk"), ("h4", "compute")}
    assert first_step(lab, ticket.action_id).deadline == due
    assert lab.ledger.hints[-1].host == "h4"
    lab.run("h1", "h2", "h4")
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host, shown.disk_host) == ("active", "h4", "h4")
    assert lab.claimed("h3") == (0, 0, 0)


def test_a_move_that_waits_on_a_dead_host_ends_where_the_disk_lies(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.change(Host, "h1", disabled=True)
    ticket = lab.ledger.do(vm, "vm-poweron")
    target = first_step(lab, ticket.action_id).host
    lab.ledger.change(Host, "h1", disabled=False)
    lab.kill(target)
    assert lab.steps(ticket.action_id) == [("launch", "h1", "accepted")]
    assert lab.claims(vm) == {("h1", "disk"), ("h1", "compute")}
    lab.run("h1")
    assert lab.ledger.show(vm).vm_state == "active"


def test_a_move_that_no_other_host_of_its_zone_can_take_waits_on(lab: Lab) -> None:
    vm = lab.off("h1")
    ticket = lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.kill("h3")
    assert first_step(lab, ticket.action_id).host == "h3"
    lab.run()
    assert lab.ledger.show(vm).host == "h3"


def test_a_move_that_has_begun_stays_with_its_host(lab: Lab) -> None:
    vm = lab.off("h1")
    ticket = lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h4"] = lab.boot("h4", "az2")
    lab.agents["h3"].do(lab.started("h3"))
    lab.kill("h3")
    assert lab.steps(ticket.action_id)[:2] == [
        ("fetch", "h3", "succeeded"), ("launch", "h3", "accepted"),
    ]  # fmt: skip


def test_a_create_that_has_started_stays_with_its_host_until_its_deadline(lab: Lab) -> None:
    (ticket,) = lab.ledger.create(zone="az1")
    assert ticket.host
    lab.started(ticket.host)
    lab.kill(ticket.host)
    assert lab.ledger.show(ticket.instance_id).host == ticket.host
    lab.pass_time(300, ticket.host)
    assert lab.ledger.show(ticket.instance_id).vm_state == "error"
    assert lab.left() == {(ticket.host, "guest")}
    lab.run(ticket.host)
    assert lab.left() == set()
    assert lab.claims(ticket.instance_id) == set()


def test_every_action_ends_by_its_deadline_though_nobody_listens(lab: Lab) -> None:
    vm = lab.active()
    ticket = lab.ledger.do(vm, "pause")
    lab.pass_time(117)
    assert lab.ledger.row(Action, ticket.action_id).status == "accepted"
    lab.pass_time(6)
    ended = lab.ledger.row(Action, ticket.action_id)
    assert (ended.status, ended.reason) == ("failed", "It was not done within its time.")
    assert lab.ledger.show(vm).task_state is None


def test_a_waiting_step_is_hinted_again_and_again(lab: Lab) -> None:
    vm = lab.active()
    ticket = lab.ledger.do(vm, "pause")
    lab.ledger.hints.clear()
    lab.pass_time(6)
    assert [hint.step_id for hint in lab.ledger.hints] == [ticket.step_id] * 2


def test_a_fenced_hosts_launch_bars_nobody(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.agents["h3"].do(lab.started("h3"))
    lab.started("h3")
    lab.pass_time(200, "h3")
    assert lab.left() == {("h3", "guest")}
    lab.ledger.change(Host, "h3", forced_down=True)
    lab.reaper.round()
    shown = lab.ledger.show(vm)
    assert (shown.vm_state, shown.host, shown.disk_host) == ("powered_off", "h1", "h1")
    assert lab.left() == {("h3", "disk")}
    lab.ledger.do(vm, "vm-poweron")
    lab.run("h1", "h2")
    assert lab.ledger.show(vm).vm_state == "active"


def test_heartbeats_store_facts_only_when_they_change(lab: Lab) -> None:
    agent = lab.boot("h1", uptime=100)
    assert lab.host("h1").facts["uptime"] == 100
    agent.facts = type(agent.facts)(
        resources=agent.facts.resources, capabilities=agent.facts.capabilities, version="1",
        uptime=130,
    )  # fmt: skip
    agent.beat()
    assert lab.host("h1").facts["uptime"] == 100
    lab.boot("h1", uptime=100, capabilities=["pause"]).beat()
    assert lab.host("h1").facts["capabilities"] == ["pause"]


def test_a_deaf_agent_is_told_to_listen_anew(lab: Lab) -> None:
    lab.pass_time(35)
    assert "listen" in lab.agents["h1"].beat().orders
    nonce = lab.host("h1").nonce
    assert nonce
    lab.ledger.agents.pong("h1", lab.agents["h1"].epoch, nonce)
    assert lab.agents["h1"].beat().orders == []


def test_a_host_that_is_forgotten_takes_its_claims_along(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.run("h3")
    lab.kill("h1")
    lab.pass_time(3, "h1")
    assert ("h1", "disk") in lab.claims(vm)
    forget(lab, "h1")
    assert lab.claims(vm) == {("h3", "compute"), ("h3", "disk")}
    del lab.agents["h1"]


def test_a_host_with_work_that_has_yet_to_end_is_not_forgotten(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron", availability_zone="az2")
    lab.kill("h3")
    with pytest.raises(Conflict, match="yet to end"):
        forget(lab, "h3")


def first_step(lab: Lab, action_id: str) -> Step:
    """The first step of an action."""
    query = sa.select(Step).where(Step.action_id == action_id, Step.ordinal == 0)
    step: Step = lab.ledger.rows(query)[0]
    return step


def forget(lab: Lab, host: str) -> None:
    """Delete a host's service."""
    lab.ledger.turns.run(lambda turn: turn.attempt(lambda: hosts.delete(turn, host)))


def test_a_row_that_nobody_understands_stops_no_other(lab: Lab) -> None:
    strange, vm = lab.active("h1"), lab.active("h2")
    tickets = [lab.ledger.do(key, "pause") for key in (strange, vm)]
    lab.ledger.change(Action, tickets[0].action_id, verb="of-the-next-release")
    lab.pass_time(130)
    assert lab.ledger.row(Action, tickets[1].action_id).status == "failed"
    lab.ledger.change(Action, tickets[0].action_id, verb="pause")
    lab.pass_time(3)
    assert lab.ledger.row(Action, tickets[0].action_id).status == "failed"


def test_a_hosts_zone_is_what_its_first_hello_named(lab: Lab) -> None:
    last = lab.agents["h1"].epoch
    with pytest.raises(Conflict, match="put the host into an aggregate"):
        hello(lab, "h1", replaces=last, zone="az2")
    assert (lab.host("h1").zone, lab.host("h1").epoch) == ("az1", last)
    hello(lab, "h1", replaces=last)


def test_a_revoked_host_is_not_heard_until_it_is_admitted(lab: Lab) -> None:
    vm, agent = lab.active("h1"), lab.agents["h1"]
    assert lab.ledger.turns.run(lambda turn: hosts.revoke(turn, "h1"))
    for speak in (
        agent.beat,
        agent.reconcile,
        lambda: agent.report(vm),
        lambda: hello(lab, "h1", replaces=agent.epoch),
    ):
        with pytest.raises(Forbidden, match="is revoked"):
            speak()
    host = lab.host("h1")
    assert (host.state, host.epoch) == ("down", agent.epoch)
    assert not lab.ledger.turns.run(lambda turn: hosts.revoke(turn, "h9"))
    assert lab.ledger.turns.run(lambda turn: hosts.admit(turn, "h1"))
    assert not lab.ledger.turns.run(lambda turn: hosts.admit(turn, "h1"))
    assert "reconcile" in agent.beat().orders
    agent.reconcile()
    assert lab.host("h1").state == "up"


def test_what_may_run_on_a_revoked_host_runs_nowhere_else_until_it_is_forced_down(lab: Lab) -> None:
    vm = lab.off("h1")
    lab.ledger.do(vm, "vm-poweron")
    lab.started("h1")
    lab.ledger.turns.run(lambda turn: hosts.revoke(turn, "h1"))
    lab.pass_time(200, "h1")
    assert lab.left() == {("h1", "guest")}
    assert lab.claims(vm) == {("h1", "compute"), ("h1", "disk")}
    lab.ledger.turns.run(lambda turn: hosts.update(turn, "h1", {"forced_down": True}))
    lab.reaper.round()
    assert lab.left() == set()


def test_what_goes_on_on_a_revoked_host_ends_and_its_machines_can_be_deleted(lab: Lab) -> None:
    begun, waiting = lab.active("h1"), lab.active("h1")
    tickets = [lab.ledger.do(begun, "pause")]
    lab.started("h1")
    tickets.append(lab.ledger.do(waiting, "pause"))
    new = [lab.ledger.create(lab.ledger.member)[0].instance_id for _ in range(7)]
    assert "h1" in {lab.ledger.instance(vm).host for vm in new}
    lab.ledger.turns.run(lambda turn: hosts.revoke(turn, "h1"))
    lab.pass_time(130, "h1")
    assert [lab.ledger.row(Action, one.action_id).status for one in tickets] == ["failed"] * 2
    assert "h1" not in {lab.ledger.instance(vm).host for vm in new}
    for vm in (begun, waiting):
        lab.ledger.do(vm, "delete")
        lab.reaper.round()
        assert lab.ledger.instance(vm).deleted
    lab.ledger.turns.run(lambda turn: hosts.admit(turn, "h1"))
    lab.pass_time(6)
    lab.agents["h1"].reconcile()
    assert (lab.left(), lab.claimed("h1")) == (set(), (0, 0, 0))


def test_a_revoked_host_is_not_taken_for_one_that_fell_silent_with_others(lab: Lab) -> None:
    lab.ledger.turns.run(lambda turn: hosts.revoke(turn, "h2"))
    lab.pass_time(22, "h1", "h2")
    assert lab.host("h1").state == "down"
