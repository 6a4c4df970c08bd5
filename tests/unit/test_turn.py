"""What a transaction over the ledger reads once, undoes and asks the database for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from conductor.db.models import Action, Claim, Host, Instance, Query, Step
from conductor.turn import Moved, Turn, each
from paddock.errors import Conflict
from tests.fixtures.lab import Lab
from tests.fixtures.ledger import Ledger

FRAME = ("BEGIN", "SAVEPOINT", "RELEASE")


@contextmanager
def heard(ledger: Ledger) -> Iterator[list[str]]:
    """The statements that reach the database, but for those that begin and end transactions."""
    statements: list[str] = []

    def hear(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if not text.startswith(FRAME):
            statements.append(text)

    engine = ledger.database.writer
    sa.event.listen(engine, "before_cursor_execute", hear)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", hear)


def test_a_pause_takes_ten_statements_from_request_to_end(lab: Lab) -> None:
    vm = lab.active("h1")
    agent = lab.agents["h1"]
    with heard(lab.ledger) as accepting:
        lab.ledger.do(vm, "pause")
    (step,) = lab.waiting("h1")
    with heard(lab.ledger) as working:
        agent.finish(agent.start(step))
    assert (len(accepting), len(working)) == (4, 6), [*accepting, *working]


def test_rows_that_were_read_ahead_are_not_asked_for_again_until_they_change(lab: Lab) -> None:
    vm = lab.active("h1")

    def read(turn: Turn) -> None:
        turn.look_ahead((Instance, vm), (Host, Instance.host), (Action, "none"))
        with heard(lab.ledger) as statements:
            instance = turn.get(Instance, vm)
            assert instance is not None and instance.host == "h1"
            assert turn.get(Host, "h1") is not None
            assert turn.get(Action, "none") is None
            assert statements == []
            turn.change(Instance, Instance.id == vm, description="new")
            again = turn.get(Instance, vm)
            assert again is not None and again.description == "new"
            assert len(statements) == 2

    lab.ledger.turns.run(read)


def test_a_row_that_is_not_there_is_looked_for_again_when_one_was_added(lab: Lab) -> None:
    def read(turn: Turn) -> None:
        turn.look_ahead((Query, "new"), (Host, Query.host))
        assert turn.get(Query, "new") is None
        turn.add(Query(id="new", host="h1", kind="console", instance_id="i", params={},
                       created_at=turn.now))  # fmt: skip
        assert turn.get(Query, "new") is not None
        turn.session.rollback()

    lab.ledger.turns.run(read)


def test_an_altered_row_has_its_new_values_without_being_read(lab: Lab) -> None:
    vm = lab.active("h1")

    def alter(turn: Turn) -> None:
        turn.look_ahead((Instance, vm))
        row = turn.get(Instance, vm)
        assert row is not None
        turn.alter(row, Instance.host == "h1", description="new")
        with heard(lab.ledger) as statements:
            assert turn.get(Instance, vm) is row
            assert row.description == "new"
            assert statements == []
        with pytest.raises(Moved):
            turn.alter(row, Instance.host == "h2", description="newer")
        assert row.description == "new"

    lab.ledger.turns.run(alter)
    assert lab.ledger.instance(vm).description == "new"


def test_rows_with_keys_of_several_columns_are_not_taken_for_others(lab: Lab) -> None:
    vm = lab.active("h1")

    def refuse(turn: Turn) -> None:
        with pytest.raises(ValueError, match="too many values"):
            turn.look_ahead((Claim, vm))
        mine = sa.select(Claim).where(Claim.instance_id == vm, Claim.kind == "compute")
        (compute,) = turn.all(mine)
        with pytest.raises(ValueError, match="too many values"):
            turn.alter(compute, Claim.kind == "disk", vcpus=7)

    lab.ledger.turns.run(refuse)
    assert 7 not in {claim.vcpus for claim in lab.ledger.rows(sa.select(Claim))}


@pytest.mark.parametrize("earlier", [False, True])
def test_what_is_refused_is_undone_and_nothing_before_it(lab: Lab, earlier: bool) -> None:
    vm = lab.active("h1")
    before = lab.ledger.instance(vm).description

    def write(turn: Turn) -> None:
        if earlier:
            turn.change(Instance, Instance.id == vm, name="kept")

        def refuse() -> None:
            turn.change(Instance, Instance.id == vm, description="lost")
            raise Conflict("no")

        with pytest.raises(Conflict):
            turn.attempt(refuse)
        turn.attempt(lambda: turn.change(Step, Step.instance_id == vm, reason="said"))

    lab.ledger.turns.run(write)
    row = lab.ledger.instance(vm)
    assert row.description == before
    assert (row.name == "kept") is earlier
    reasons = {step.reason for step in lab.ledger.rows(sa.select(Step))}
    assert reasons == {"said"}


def test_facts_that_moved_are_read_again(lab: Lab) -> None:
    vm = lab.active("h1")
    tries = []

    def decide(turn: Turn) -> str:
        turn.look_ahead((Instance, vm))
        row = turn.get(Instance, vm)
        assert row is not None
        tries.append(row.description)
        if len(tries) == 1:
            raise Moved
        return str(row.id)

    assert lab.ledger.turns.run(lambda turn: turn.attempt(lambda: decide(turn))) == vm
    assert len(tries) == 2


@pytest.mark.parametrize("bad", [Conflict("No."), Moved(), None])
def test_of_several_one_that_fails_leaves_nothing_and_the_others_are_done_once(
    lab: Lab, bad: Exception | None
) -> None:
    vms = [lab.active("h1") for _ in range(3)]
    tries: list[str] = []

    def change(turn: Turn, vm: str) -> str:
        tries.append(vm)
        turn.must(Instance, {"id": vm}, description="changed")
        turn.tell(f"{vm} was changed")
        if vm == vms[1] and bad is not None and (isinstance(bad, Conflict) or tries.count(vm) < 3):
            raise bad
        return vm

    told: list[list[str]] = []

    def all_of_them(turn: Turn) -> list[dict[str, Any]]:
        answers = each(turn, vms, lambda vm: vm, lambda vm: change(turn, vm))
        told.append([text for text, _ in turn.told])
        return answers

    answers = lab.ledger.turns.run(all_of_them)
    refused = isinstance(bad, Conflict)
    assert ["error" in one for one in answers] == [False, refused, False]
    done = [vm for vm in vms if not (refused and vm == vms[1])]
    assert sorted(told[0]) == sorted(f"{vm} was changed" for vm in done)
    assert [vm for vm in vms if lab.ledger.instance(vm).description == "changed"] == done
    assert len(tries) == 3 or bad is not None
