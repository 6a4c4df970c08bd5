"""Transactions of the conductor's database: whole, repeated, bounded."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from conductor.db.models import Base, Project
from conductor.db.session import Database
from paddock.errors import DatabaseUnavailable, NotFound

A, B = "a" * 36, "b" * 36


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/own/paddock.db"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url, pool_size=4, timeout=0.5)
    Base.metadata.create_all(database.writer)
    yield database
    database.dispose()


def insert(session: Session, key: str = A, name: str = "a") -> None:
    session.add(Project(id=key, name=name))
    session.flush()


def names(database: Database) -> list[str]:
    return database.read(lambda session: list(session.scalars(sa.select(Project.name))))


def add_core(session: Session) -> None:
    session.execute(sa.update(Project).values(used_cores=Project.used_cores + 1))


def test_a_transaction_is_committed(database: Database) -> None:
    database.transaction(insert)
    assert names(database) == ["a"]


def test_an_error_undoes_the_transaction(database: Database) -> None:
    def fail(session: Session) -> None:
        insert(session)
        raise NotFound

    with pytest.raises(NotFound):
        database.transaction(fail)
    assert names(database) == []


def test_a_read_leaves_nothing_behind(database: Database) -> None:
    database.read(lambda session: insert(session))
    assert names(database) == []


def test_an_error_of_the_statement_is_not_repeated(database: Database) -> None:
    tries: list[int] = []

    def twice(session: Session) -> None:
        tries.append(1)
        insert(session)
        insert(session, B)

    with pytest.raises(IntegrityError):
        database.transaction(twice)
    assert len(tries) == 1


def test_concurrent_writers_lose_no_update(database: Database) -> None:
    database.transaction(insert)

    def write() -> None:
        for _ in range(20):
            database.transaction(add_core)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.read(lambda s: s.scalar(sa.select(Project.used_cores))) == 160


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    def write(session: Session) -> list[str]:
        insert(session)
        return names(database)

    assert database.transaction(write) == []


def test_a_lock_that_another_process_holds_is_waited_for(database: Database, url: str) -> None:
    other = Database(url, timeout=5)
    begun = threading.Event()

    def hold(session: Session) -> None:
        insert(session)
        begun.set()
        time.sleep(0.1)

    thread = threading.Thread(target=other.transaction, args=[hold])
    thread.start()
    begun.wait()
    database.transaction(lambda session: insert(session, B, "b"))
    thread.join()
    other.dispose()
    assert sorted(names(database)) == ["a", "b"]


def test_a_lock_that_stays_is_unavailable_in_bounded_time(database: Database, url: str) -> None:
    other = Database(url, timeout=5)

    def hold(session: Session) -> None:
        insert(session)
        before = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            database.transaction(insert)
        assert time.monotonic() - before < 3

    other.transaction(hold)
    other.dispose()


def test_a_writer_of_the_own_process_is_waited_for_no_longer_than_the_timeout(
    database: Database,
) -> None:
    def nested(_session: Session) -> None:
        database.transaction(insert)

    with pytest.raises(DatabaseUnavailable):
        database.transaction(nested)


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    database = Database(f"sqlite:///{path}", timeout=0.2)
    with pytest.raises(DatabaseUnavailable):
        database.transaction(insert)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://u:secret@127.0.0.1:1/d", "mysql+pymysql://u:secret@127.0.0.1:1/d"]
)
def test_a_server_that_is_away_is_unavailable_and_no_secret_is_told(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(url, timeout=0.2)
    with pytest.raises(DatabaseUnavailable) as caught:
        database.read(lambda session: session.execute(sa.text("SELECT 1")))
    assert "secret" not in caught.value.message + caplog.text


def test_another_database_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(ValueError, match="must begin with sqlite"):
        Database("oracle://u@h/d")


def test_the_file_belongs_to_its_owner_only_and_is_durable(database: Database, url: str) -> None:
    database.transaction(insert)
    directory = Path(sa.make_url(url).database or "").parent
    assert {path.stat().st_mode & 0o077 for path in directory.iterdir()} == {0}
    assert database.read(lambda s: s.scalar(sa.text("PRAGMA synchronous"))) == 2
    assert database.read(lambda s: s.scalar(sa.text("PRAGMA journal_mode"))) == "wal"


def test_the_clock_is_utc_with_microseconds_and_can_be_replaced(url: str) -> None:
    database = Database(url)
    now = database.transaction(database.now)
    real = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert abs(real - now) < datetime.timedelta(seconds=2)
    moment = datetime.datetime(2030, 1, 1)
    frozen = Database(url, clock=lambda _: moment)
    assert frozen.transaction(frozen.now) == moment


def test_a_database_in_memory_serves_several_threads() -> None:
    database = Database("sqlite://")
    Base.metadata.create_all(database.writer)
    database.transaction(insert)

    def work() -> None:
        for _ in range(20):
            database.transaction(add_core)
            names(database)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.read(lambda s: s.scalar(sa.select(Project.used_cores))) == 80
