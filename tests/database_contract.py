"""What the conductor may rely on with every database.

A test class takes it over and gives ``url``, an empty database.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from conductor.db import schema
from conductor.db.models import Base, Conductor, Pause, Project
from conductor.db.session import Database
from paddock.errors import DatabaseUnavailable

A, B = "a" * 36, "b" * 36


def project(key: str, name: str) -> Project:
    return Project(id=key, name=name, used_instances=0, used_cores=0, used_memory_mb=0)


def count_core(session: Session, key: str) -> None:
    more = sa.update(Project).where(Project.id == key)
    session.execute(more.values(used_cores=Project.used_cores + 1))


def cores(database: Database) -> dict[str, int]:
    query = sa.select(Project.id, Project.used_cores)
    return database.read(lambda session: dict(session.execute(query).tuples().all()))


class DatabaseContract:
    """The tests."""

    @pytest.fixture
    def database(self, url: str) -> Iterator[Database]:
        schema.upgrade(url)
        database = Database(url, pool_size=4, timeout=4)
        yield database
        database.dispose()

    @pytest.fixture
    def projects(self, database: Database) -> Database:
        def insert(session: Session) -> None:
            session.add_all([project(A, "a"), project(B, "b")])

        database.transaction(insert)
        return database

    def test_a_release_that_does_not_know_a_column_still_writes_the_table(
        self, database: Database
    ) -> None:
        """What an upgrade adds must not stop the conductors that are not upgraded yet."""
        older = sa.table("conductors", *(sa.column(name) for name in (
            "id", "host", "version", "started_at", "last_heartbeat")))  # fmt: skip
        now = datetime.datetime(2030, 1, 1)
        row = {"id": A, "host": "c1", "version": "0", "started_at": now, "last_heartbeat": now}
        database.transaction(lambda session: session.execute(older.insert().values(row)))
        found = database.read(lambda session: session.get(Conductor, A))
        assert found is not None
        assert found.rpc_version == "1.0"

    def test_the_migrations_lead_to_the_models(self, database: Database) -> None:
        with database.writer.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []

    def test_an_upgrade_can_be_repeated(self, database: Database, url: str) -> None:
        schema.upgrade(url)
        with database.writer.connect() as connection:
            assert schema.current(connection) == schema.head()
            schema.check(connection)

    def test_an_empty_database_is_refused_with_what_to_do(self, url: str) -> None:
        database = Database(url)
        with (
            database.writer.connect() as connection,
            pytest.raises(schema.SchemaOutdated, match="run 'paddock-manage db upgrade'"),
        ):
            schema.check(connection)
        database.dispose()

    def test_a_newer_schema_is_used_and_left_as_it_is(self, database: Database, url: str) -> None:
        newer = sa.text("UPDATE alembic_version SET version_num = '9999'")
        database.transaction(lambda session: session.execute(newer) and None)
        schema.upgrade(url)
        with database.writer.connect() as connection:
            schema.check(connection)
            assert schema.current(connection) == "9999"

    def test_names_differ_by_case(self, projects: Database) -> None:
        projects.transaction(lambda session: session.add(project("c" * 36, "A")))
        with pytest.raises(IntegrityError):
            projects.transaction(lambda session: session.add(project("d" * 36, "A")))

    def test_times_keep_their_microseconds(self, database: Database) -> None:
        since = datetime.datetime(2030, 1, 2, 3, 4, 5, 678901)
        row = Pause(host="h", holder="x", reason="ü 🐎", who=None, since=since)
        database.transaction(lambda session: session.add(row))
        query = sa.select(Pause.since, Pause.reason)
        found = database.read(lambda session: session.execute(query).one())
        assert tuple(found) == (since, "ü 🐎")

    def test_the_clock_is_utc_and_moves(self, database: Database) -> None:
        before = database.transaction(database.now)
        real = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        assert abs(real - before) < datetime.timedelta(seconds=5)
        assert database.read(database.now) > before

    @pytest.mark.parametrize("scope", [nullcontext, Session.begin_nested])
    def test_crossing_transactions_both_succeed(
        self, projects: Database, scope: Callable[[Session], AbstractContextManager[object]]
    ) -> None:
        """Also when the deadlock is found within a savepoint."""
        meeting = threading.Barrier(2)

        def cross(first: str, second: str) -> None:
            def change(session: Session) -> None:
                count_core(session, first)
                with suppress(threading.BrokenBarrierError):
                    meeting.wait(0.3)
                with scope(session):
                    count_core(session, second)

            projects.transaction(change)

        threads = [threading.Thread(target=cross, args=pair) for pair in ((A, B), (B, A))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cores(projects) == {A: 2, B: 2}

    def test_a_read_sees_only_what_is_committed_and_does_not_wait(self, projects: Database) -> None:
        def change(session: Session) -> dict[str, int]:
            count_core(session, A)
            return cores(projects)

        assert projects.transaction(change) == {A: 0, B: 0}
        assert cores(projects) == {A: 1, B: 0}

    def test_a_snapshot_is_of_one_moment(self, projects: Database) -> None:
        def look(session: Session) -> list[int | None]:
            query = sa.select(Project.used_cores).where(Project.id == A)
            before = session.scalar(query)
            projects.transaction(lambda other: count_core(other, A))
            return [before, session.scalar(query)]

        assert projects.snapshot(look) == [0, 0]
        assert cores(projects)[A] == 1

    def test_a_lock_is_not_waited_for_forever(self, projects: Database, url: str) -> None:
        impatient = Database(url, timeout=0.4)

        def hold(session: Session) -> None:
            count_core(session, A)
            with pytest.raises(DatabaseUnavailable):
                impatient.transaction(lambda inner: count_core(inner, A))

        projects.transaction(hold)
        impatient.dispose()
        assert cores(projects)[A] == 1
