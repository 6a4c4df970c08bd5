"""Statements that are made once for each shape."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from conductor.db.models import Aggregate, Base, Host, Query, Step
from conductor.db.statements import Fact, There, make_insert, make_update
from tests.fixtures.ledger import START

KEYS = {"action_id": "a", "instance_id": "i", "kind": "pause", "host": "h1", "created_at": START}


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        for number, status in enumerate(("waiting", "accepted", "running")):
            step = Step(id=f"s{number}", ordinal=number, status=status, **KEYS)
            connection.execute(*make_insert(step))
        yield connection


def changed(connection: sa.Connection, *facts: Fact) -> int:
    return connection.execute(*make_update(Step, facts, {"reason": "new"})).rowcount


NAMED_AND_IN_SQL = [
    ({"id": "s1"}, Step.id == "s1", 1),
    ({"id": "s1", "status": "running"}, sa.and_(Step.id == "s1", Step.status == "running"), 0),
    ({"status": ("waiting", "running")}, Step.status.in_(("waiting", "running")), 2),
    ({"status": ("waiting",)}, Step.status.in_(("waiting",)), 1),
    ({"status": ()}, Step.status.in_(()), 0),
    ({"epoch": None}, Step.epoch.is_(None), 3),
    ({"epoch": "e"}, Step.epoch == "e", 0),
    ({"done": 0, "ticket": None}, sa.and_(Step.done == 0, Step.ticket.is_(None)), 3),
]


@pytest.mark.parametrize(("named", "in_sql", "count"), NAMED_AND_IN_SQL)
def test_facts_by_name_are_those_in_sql(
    connection: sa.Connection, named: Fact, in_sql: Fact, count: int
) -> None:
    everything = Step.attempt == 1
    found = [changed(connection, *facts) for facts in ((named,), (in_sql,), (named, everything))]
    assert found == [count] * 3


def test_a_shape_is_made_once_whatever_its_values(connection: sa.Connection) -> None:
    one, _ = make_update(Step, ({"id": "s1"},), {"reason": "a"})
    other, parameters = make_update(Step, ({"id": "s2"},), {"reason": None})
    assert one is other
    assert connection.execute(other, parameters).rowcount == 1
    [rows] = connection.execute(sa.select(Step.reason).where(Step.id == "s2"))
    assert rows == (None,)
    assert make_update(Step, ({"epoch": "e"},), {"reason": "a"})[0] is not one
    assert make_update(Step, ({"epoch": None},), {"reason": "a"})[0] is not one


def test_a_fact_of_another_table_holds_while_such_a_row_is_there(
    connection: sa.Connection,
) -> None:
    up = There(Host, {"name": "h1", "state": "up", "own_zone": None})
    assert changed(connection, {"id": "s1"}, up) == 0
    host = {"name": "h1", "id": "1", "machine_id": "m", "epoch": "e", "zone": "z", "facts": {}}
    others = {
        "last_heartbeat": START,
        "created_at": START,
        "vcpus": 1,
        "memory_mb": 1,
        "disk_gb": 1,
    }
    connection.execute(*make_insert(Host(**host, **others, state="up")))
    assert changed(connection, {"id": "s1"}, up) == 1
    assert changed(connection, {"id": "s1"}, up, Step.attempt == 1) == 1
    assert changed(connection, {"id": "s1"}, There(Host, {"name": "h1", "state": "down"})) == 0


def test_a_fact_of_the_same_table_may_be_of_another_row(connection: sa.Connection) -> None:
    second = There(Step, {"id": "s2", "status": "running"})
    assert changed(connection, {"id": "s1"}, second) == 1
    assert changed(connection, {"id": "s1"}, There(Step, {"id": "s2", "status": "waiting"})) == 0


def test_a_value_may_be_an_expression(connection: sa.Connection) -> None:
    statement, parameters = make_update(Step, ({"id": "s1"},), {"attempt": Step.attempt + 1})
    assert connection.execute(statement, parameters).rowcount == 1
    assert connection.scalar(sa.select(Step.attempt).where(Step.id == "s1")) == 2


def test_an_inserted_row_has_its_defaults_at_once() -> None:
    step = Step(id="s", ordinal=0, status="waiting", **KEYS)
    make_insert(step)
    assert (step.attempt, step.done, step.epoch) == (1, 0, None)
    one, other = Aggregate(id=1), Aggregate(id=2)
    for row in (one, other):
        make_insert(row)
    assert one.details == other.details == {}
    assert one.details is not other.details


def test_what_is_none_is_null_also_where_json_has_one_of_its_own(
    connection: sa.Connection,
) -> None:
    query = Query(id="q", instance_id="i", host="h1", kind="console", params={}, created_at=START)
    query.answer = None
    connection.execute(*make_insert(query))
    assert connection.scalar(sa.select(Query.id).where(Query.answer.is_(sa.null()))) == "q"
