"""Transactions and reads over the conductor's database."""

from __future__ import annotations

import datetime
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.orm import Session

from conductor.db.engine import in_memory, make_engines
from conductor.db.trouble import Trouble, judge
from paddock.deadline import Deadline
from paddock.errors import BadRequest, DatabaseUnavailable

LOG = logging.getLogger(__name__)
T = TypeVar("T")
ATTEMPTS = 12
PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.25

_NOW: dict[str, sa.ColumnElement[datetime.datetime]] = {
    "postgresql": sa.literal_column("clock_timestamp() AT TIME ZONE 'UTC'", sa.DateTime()),
    "mysql": sa.literal_column("utc_timestamp(6)", sa.DateTime()),
}


class Database:
    """The database of the conductors.

    Of SQLite's writers in this process only one at a time asks for the write lock, so that they
    take turns at once instead of polling for it, and never wait inside C for a green thread.

    :param url: SQLAlchemy URL, see :func:`conductor.db.engine.make_engines`
    :param pool_size: connections open at once
    :param timeout: seconds that a connection, a statement or a transaction's repetitions may take
    :param clock: gives the time in place of the database's clock, for simulations
    """

    def __init__(
        self,
        url: str | sa.URL,
        pool_size: int = 16,
        timeout: float = 4.0,
        clock: Callable[[Session], datetime.datetime] | None = None,
    ) -> None:
        self.writer, self.reader = make_engines(url, pool_size, timeout)
        self._timeout = timeout
        self._clock = clock
        self._writing = threading.Lock() if self.writer.dialect.name == "sqlite" else None
        self._reading = self._writing if in_memory(self.writer) else None

    def transaction(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` in one transaction and commit it.

        ``fn`` is run again after a deadlock, a serialisation failure or a lock's timeout, so it
        must do nothing beside what it does through the session.

        :raises DatabaseUnavailable: the database does not answer; whether a transaction whose
            COMMIT was under way holds, only reading it again can tell
        """
        return self._repeat(lambda: self._write(fn))

    def read(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` that only reads and never commits; it waits for no writer.

        :raises DatabaseUnavailable: the database does not answer
        """
        return self._repeat(lambda: self._read(self.reader, fn))

    def snapshot(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` that only reads, all of it as of one moment.

        :raises DatabaseUnavailable: the database does not answer
        """
        engine = self.reader
        if engine.dialect.name != "sqlite":  # whose transactions are always so
            engine = self.writer.execution_options(isolation_level="REPEATABLE READ")
        return self._repeat(lambda: self._read(engine, fn))

    def now(self, session: Session) -> datetime.datetime:
        """The database's clock: naive UTC with microseconds. SQLite's is this machine's."""
        if self._clock is not None:
            return self._clock(session)
        if self.moment is None:
            return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        return session.execute(sa.select(self.moment)).scalar_one()

    @property
    def moment(self) -> sa.ColumnElement[datetime.datetime] | None:
        """That clock in SQL; None where it is not the database's."""
        return None if self._clock else _NOW.get(self.writer.dialect.name)

    def dispose(self) -> None:
        """Close all connections that are not in use."""
        self.writer.dispose()

    def _write(self, fn: Callable[[Session], T]) -> T:
        with (
            self._hold(self._writing),
            Session(self.writer, expire_on_commit=False) as session,
        ):
            answer = fn(session)
            session.flush()
            _commit(session)
            return answer

    def _read(self, engine: sa.Engine, fn: Callable[[Session], T]) -> T:
        with self._hold(self._reading), Session(engine, autoflush=False) as session:
            return fn(session)

    @contextmanager
    def _hold(self, lock: threading.Lock | None) -> Iterator[None]:
        if lock is None:
            yield
            return
        if not lock.acquire(timeout=self._timeout):
            raise DatabaseUnavailable("The database is busy with other changes; try again.")
        try:
            yield
        finally:
            lock.release()

    def _repeat(self, attempt: Callable[[], T]) -> T:
        deadline = Deadline(self._timeout)
        for count in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except SQLAlchemyError as error:
                trouble = judge(error)
                if trouble is None:
                    _refuse_value(error)
                    raise
                if not deadline.left() or count == ATTEMPTS:
                    raise _unavailable(error) from error
                LOG.info("Repeating a transaction: %s", type(error).__name__)
            time.sleep(_pause(count))
        raise AssertionError("unreachable")


def _pause(count: int) -> float:
    return random.uniform(0, min(PAUSE_SECONDS * 2**count, LONGEST_PAUSE_SECONDS))  # noqa: S311


def _commit(session: Session) -> None:
    try:
        session.commit()
    except SQLAlchemyError as error:
        if judge(error) is Trouble.LOST:
            raise _unavailable(error) from error
        raise


def _refuse_value(error: SQLAlchemyError) -> None:
    """Raise BadRequest if the database cannot keep a value that it was given."""
    if isinstance(error, DataError):
        raise BadRequest("A text is too long, or a number too large, to be kept.") from None


def _unavailable(error: SQLAlchemyError) -> DatabaseUnavailable:
    LOG.warning("The database does not answer: %s", getattr(error, "orig", error))
    return DatabaseUnavailable("The database did not answer in time; try again.")
