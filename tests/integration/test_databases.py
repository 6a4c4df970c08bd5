"""The database contract on real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from conductor.db.session import Database
from paddock.errors import DatabaseUnavailable
from tests.database_contract import A, DatabaseContract, cores, count_core


def cut_others(session: Session) -> None:
    """End all other connections to this database."""
    if session.connection().dialect.name == "postgresql":
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        session.execute(sa.text(others)).all()
        return
    mine = "SELECT id FROM information_schema.processlist WHERE id <> connection_id()"
    for key in session.scalars(sa.text(mine)).all():
        session.execute(sa.text(f"KILL {int(key)}"))


class TestServers(DatabaseContract):
    @pytest.fixture
    def url(self, database_url: str) -> str:
        return database_url

    def test_a_connection_that_was_cut_is_made_anew(self, projects: Database, url: str) -> None:
        other = Database(url)
        assert cores(projects)[A] == 0
        other.transaction(cut_others)
        assert cores(projects)[A] == 0
        other.transaction(cut_others)
        projects.transaction(lambda session: count_core(session, A))
        other.dispose()
        assert cores(projects)[A] == 1

    def test_a_transaction_that_is_cut_is_done_once(self, projects: Database, url: str) -> None:
        other = Database(url)
        tries: list[int] = []

        def change(session: Session) -> None:
            count_core(session, A)
            tries.append(1)
            if len(tries) == 1:
                other.transaction(cut_others)
            session.flush()
            session.scalar(sa.text("SELECT 1"))

        projects.transaction(change)
        other.dispose()
        assert (len(tries), cores(projects)[A]) == (2, 1)

    def test_a_statement_that_takes_too_long_is_given_up(self, url: str) -> None:
        impatient = Database(url, timeout=0.3)
        slow = {"postgresql": "SELECT pg_sleep(60)", "mysql": "SELECT SLEEP(60)"}
        statement = sa.text(slow[impatient.writer.dialect.name])
        with pytest.raises(DatabaseUnavailable):
            impatient.read(lambda session: session.execute(statement))
        impatient.dispose()
