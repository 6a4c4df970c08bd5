"""A conductor's way to the one database, where transactions fail and outcomes get lost."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

from paddock.errors import DatabaseUnavailable
from tests.simulation.scheduler import Process, Scheduler

T = TypeVar("T")
START = datetime.datetime(2030, 1, 1)
TIMEOUT_SECONDS = 4.0


def moment(seconds: float) -> datetime.datetime:
    """What a clock of the database shows."""
    return START + datetime.timedelta(seconds=seconds)


class Store:
    """What ``conductor.turn.Turns`` needs of a database.

    A transaction is one act, as SQLite's write lock makes it; before and after it others run.

    :param sessions: opens, commits and undoes transactions on the shared database
    :param trouble: decides how each transaction ends
    """

    def __init__(self, scheduler: Scheduler, process: Process, sessions: Any, trouble: Any) -> None:
        self._scheduler = scheduler
        self._process = process
        self._sessions = sessions
        self._trouble = trouble

    def transaction(self, fn: Callable[[Any], T]) -> T:
        """See ``conductor.db.session.Database``."""
        self._scheduler.give_way()
        self._check_line()
        fate = self._trouble.commit()
        if fate == "repeat":
            self._attempt(fn, keep=False)
        answer = self._attempt(fn, keep=fate != "undone")
        if fate in ("undone", "unknown"):
            raise DatabaseUnavailable("The database did not answer in time; try again.")
        self._trouble.committed()
        return answer

    def read(self, fn: Callable[[Any], T]) -> T:
        """See ``conductor.db.session.Database``."""
        self._scheduler.give_way()
        self._check_line()
        return self._sessions.read(fn)

    moment = None

    def now(self, _session: Any) -> datetime.datetime:
        """The database's clock."""
        return moment(self._scheduler.now + self._trouble.clock_jump)

    def _check_line(self) -> None:
        if self._trouble.is_database_cut(self._process):
            self._scheduler.sleep(TIMEOUT_SECONDS)
            raise DatabaseUnavailable("The database did not answer in time; try again.")

    def _attempt(self, fn: Callable[[Any], T], keep: bool) -> T:
        session = self._sessions.begin()
        try:
            answer = fn(session)
        except BaseException:
            self._sessions.undo(session)
            raise
        if keep:
            self._sessions.commit(session)
        else:
            self._sessions.undo(session)
        return answer
