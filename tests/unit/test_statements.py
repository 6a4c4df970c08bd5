"""Statements that are made once for each shape."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from conductor.db.models import Aggregate, Base, Host, Query, Step
from conductor.db.statements import Fact, More, Room, There, make_insert, make_update
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


@pytest.mark.parametrize("others", [(), (Step.attempt == 1,)])
def test_a_value_may_be_more_or_less_than_it_was(
    connection: sa.Connection, others: tuple[Fact, ...]
) -> None:
    for count in (5, -2):
        more = {"done": More(count), "reason": "new"}
        assert connection.execute(*make_update(Step, ({"id": "s1"}, *others), more)).rowcount == 1
    rows = connection.execute(sa.select(Step.done, Step.reason).order_by(Step.id))
    assert [tuple(row) for row in rows] == [(0, None), (3, "new"), (0, None)]


ROOM = [
    (Room("done", 4, "total", 1.5), True),
    (Room("done", 5, "total", 1.5), False),
    (Room("done", 8, None, 10), True),
    (Room("done", 9, None, 10), False),
]


@pytest.mark.parametrize("others", [(), (Step.attempt == 1,)])
@pytest.mark.parametrize(("room", "is_there"), ROOM)
def test_room_is_there_up_to_so_many_times_the_size(
    connection: sa.Connection, room: Room, is_there: bool, others: tuple[Fact, ...]
) -> None:
    connection.execute(*make_update(Step, ({"id": "s1"},), {"done": 2, "total": 4}))
    assert changed(connection, {"id": "s1"}, room, *others) == is_there


def test_counting_is_made_once_whatever_the_counts() -> None:
    one, _ = make_update(Step, (Room("done", 1, "total", 1.5),), {"done": More(1)})
    other, _ = make_update(Step, (Room("done", 2, "total", 4),), {"done": More(-2)})
    assert one is other
    assert make_update(Step, (Room("done", 1, "total", 1.5),), {"done": 1})[0] is not one
    assert make_update(Step, (Room("done", 1, None, 1.5),), {"done": More(1)})[0] is not one


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
