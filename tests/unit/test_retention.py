"""What has ended is forgotten with time, in small batches, and nothing that is still needed."""

from __future__ import annotations

import datetime

import pytest
import sqlalchemy as sa

from conductor import retention
from conductor.db.models import Action, Instance, Step
from paddock.errors import PaddockError
from tests.fixtures.lab import Lab

KEPT = datetime.timedelta(days=90)


def age(lab: Lab) -> None:
    """Let the whole time of keeping pass, at once for clocks and heartbeats."""
    assert lab.ledger.clock is not None
    lab.ledger.clock.advance(KEPT.total_seconds() + 60)
    for agent in lab.agents.values():
        agent.beat()


def actions(lab: Lab) -> set[str]:
    return {row.verb for row in lab.ledger.rows(sa.select(Action))}


def test_ended_actions_are_forgotten_but_for_an_instances_last(lab: Lab) -> None:
    vm = lab.active()
    for verb in ("pause", "unpause", "os-stop"):
        lab.ledger.do(vm, verb)
        lab.run()
    age(lab)
    lab.reaper.round()
    assert actions(lab) == {"os-stop"}
    assert {row.kind for row in lab.ledger.rows(sa.select(Step))} == {"stop"}
    lab.ledger.do(vm, "os-start")
    lab.run()
    assert lab.ledger.show(vm).vm_state == "active"


def test_a_tombstone_is_forgotten_with_all_of_its_actions(lab: Lab) -> None:
    vm = lab.active()
    lab.ledger.do(vm, "delete")
    lab.run()
    lab.reaper.round()
    assert len(lab.ledger.rows(sa.select(Instance))) == 1
    age(lab)
    lab.reaper.round()
    assert lab.ledger.rows(sa.select(Action)) == lab.ledger.rows(sa.select(Instance)) == []


def test_a_tombstone_stays_while_a_dead_host_may_have_the_guest(lab: Lab) -> None:
    vm = lab.active("h3")
    lab.kill("h3")
    lab.ledger.do(vm, "delete")
    lab.ledger.clock.advance(KEPT.total_seconds() + 60)
    lab.reaper.round()
    assert [row.id for row in lab.ledger.rows(sa.select(Instance))] == [vm]
    lab.run()
    lab.pass_time(6)
    lab.reaper.round()
    assert lab.left() == set()


def test_more_than_a_batch_is_forgotten_round_by_round(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    vm = lab.active()
    for _ in range(3):
        for verb in ("pause", "unpause"):
            lab.ledger.do(vm, verb)
            lab.run()
    lab.reaper.round()
    age(lab)
    counts = []
    for _ in range(4):
        counts.append(len(lab.ledger.rows(sa.select(Action))))
        lab.reaper.round()
    assert counts == [7, 5, 3, 1]


def test_refusals_are_forgotten_after_a_day(lab: Lab) -> None:
    vm = lab.active()
    assert isinstance(lab.ledger.ask(vm, "unpause", lab.ledger.member), PaddockError)
    assert "unpause" in actions(lab)
    lab.ledger.clock.advance(datetime.timedelta(days=1, minutes=2).total_seconds())
    lab.reaper.round()
    assert actions(lab) == {"create"}


def test_with_zero_days_all_is_kept(lab: Lab) -> None:
    lab.ledger.conf.set_override("retention_days", 0, group="conductor")
    try:
        vm = lab.active()
        lab.ledger.do(vm, "pause")
        lab.run()
        age(lab)
        lab.reaper.round()
        assert actions(lab) == {"create", "pause"}
    finally:
        lab.ledger.conf.clear_override("retention_days", group="conductor")
