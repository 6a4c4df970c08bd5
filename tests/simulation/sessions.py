"""The database itself: one in memory per worker process, emptied for each schedule."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from conductor.db.models import Base
from conductor.db.session import Database

T = TypeVar("T")


class Sessions:
    """SQLAlchemy's own sessions on SQLite in memory."""

    def __init__(self) -> None:
        self.database = Database("sqlite://")
        Base.metadata.create_all(self.database.writer)
        self.connection = self.database.writer.connect()
        raw = self.connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self.raw = raw
        self.connection.close()

    def begin(self) -> Any:
        """A session in which a transaction has begun."""
        session = Session(self.database.writer, expire_on_commit=False)
        session.connection()
        return session

    def commit(self, session: Any) -> None:
        """Keep what it changed."""
        session.flush()
        session.commit()
        session.close()

    def undo(self, session: Any) -> None:
        """Keep nothing."""
        session.rollback()
        session.close()

    def read(self, fn: Callable[[Any], T]) -> T:
        """Read."""
        with Session(self.database.reader, autoflush=False) as session:
            return fn(session)

    def save(self) -> bytes:
        """The whole database."""
        return self.raw.serialize()

    def restore(self, content: bytes) -> None:
        """The whole database as it was."""
        self.raw.deserialize(content)

    def run(self, fn: Callable[[Any], T]) -> T:
        """A transaction without trouble."""
        session = self.begin()
        answer = fn(session)
        self.commit(session)
        return answer


def rows(sessions: Sessions, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows by plain SQL."""
    return list(sessions.raw.execute(query, values))
