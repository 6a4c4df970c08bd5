"""Failed log-ins: who guesses is slowed, and others, and the same user elsewhere, are not.

Failures are counted for each pair of user and address, in the database, so that all API processes
and conductors count together. After ``[conductor] log_in_failures`` of them the next try has to
wait, twice as long each time up to LONGEST_DELAY, and one try passes when the time is over. When
pairs of more than ``log_in_spread`` users (from one address) or addresses (for one user) failed
within SPREAD_TIME, only pairs that had the right password lately are let try.
"""

from __future__ import annotations

import datetime
import hashlib
import math
from dataclasses import dataclass

import sqlalchemy as sa

from conductor.db.models import LogIn, User
from conductor.turn import Turn, Turns
from paddock.errors import Unauthorized

LONGEST_DELAY = 300
SPREAD_TIME = datetime.timedelta(hours=1)
FAILURES_KEPT = datetime.timedelta(days=1)
GOOD_KEPT = datetime.timedelta(days=30)
GOOD_NOTED = datetime.timedelta(days=1)
"""A right password from where one came lately is not written down each time."""


@dataclass(frozen=True)
class Pair:
    """Who tries, as was said, from where."""

    who: str
    address: str

    @property
    def key(self) -> tuple[sa.ColumnElement[bool], ...]:
        """The row's, in SQL."""
        return LogIn.who == self.who, LogIn.address == self.address


def pair_of(found: User | None, named: dict[str, str], address: str) -> Pair:
    """The pair that is counted; a user who is not there is one, too."""
    if found is not None:
        return Pair(found.id, address)
    text = f"id {named['id']}" if "id" in named else f"name {named.get('name', '')}"
    return Pair(hashlib.sha256(text.encode()).hexdigest(), address)


class LogIns:
    """Counts log-ins and says who has to wait."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def admit(self, pair: Pair) -> None:
        """Let a try pass, before its password is looked at.

        :raises Unauthorized: with ``retry_after``, seconds, when it is too early
        """
        if self._turns.read(lambda turn: _is_slowed(turn, pair)):
            self._turns.run(lambda turn: turn.attempt(lambda: _take_turn(turn, pair)))

    def note_failure(self, pair: Pair) -> None:
        """The password was wrong, or the user may not in."""
        self._turns.run(lambda turn: turn.attempt(lambda: _fail(turn, pair)))

    def note_success(self, pair: Pair) -> None:
        """The password was right: what failed before is forgotten."""
        if self._turns.read(lambda turn: _is_news(turn, pair)):
            self._turns.run(lambda turn: turn.attempt(lambda: _succeed(turn, pair)))


def forgotten(now: datetime.datetime) -> sa.ColumnElement[bool]:
    """In SQL: rows that say nothing any more."""
    return sa.and_(
        LogIn.last < now - FAILURES_KEPT,
        sa.or_(LogIn.good_at.is_(None), LogIn.good_at < now - GOOD_KEPT),
    )


def _find(turn: Turn, pair: Pair) -> LogIn | None:
    return turn.get(LogIn, (pair.who, pair.address))


def _failures(turn: Turn, row: LogIn | None) -> int:
    return row.failures if row and row.last >= turn.now - FAILURES_KEPT else 0


def _delay(turn: Turn, failures: int) -> int:
    """Seconds until the next try."""
    over = failures - turn.conf.log_in_failures
    return 0 if over < 0 else int(min(2.0 ** min(over, 30), LONGEST_DELAY))


def _is_slowed(turn: Turn, pair: Pair) -> bool:
    row = _find(turn, pair)
    if row is None or row.good_at is None or row.good_at < turn.now - GOOD_KEPT:
        _check_spread(turn, pair)
    return _delay(turn, _failures(turn, row)) > 0


def _check_spread(turn: Turn, pair: Pair) -> None:
    lately = (LogIn.failures > 0, LogIn.last >= turn.now - SPREAD_TIME)
    most = turn.conf.log_in_spread
    for here, other in (
        (LogIn.address == pair.address, LogIn.who != pair.who),
        (LogIn.who == pair.who, LogIn.address != pair.address),
    ):
        pairs = sa.select(LogIn.who).where(here, other, *lately).limit(most).subquery()
        if turn.session.scalar(sa.select(sa.func.count()).select_from(pairs)) == most:
            raise _too_early(LONGEST_DELAY)


def _take_turn(turn: Turn, pair: Pair) -> None:
    """One of those who try at once passes; the next one when it is time again."""
    row = _find(turn, pair)
    delay = _delay(turn, _failures(turn, row))
    if row is None or not delay:
        return
    if row.open_at is not None and row.open_at > turn.now:
        raise _too_early(math.ceil((row.open_at - turn.now).total_seconds()))
    later = turn.now + datetime.timedelta(seconds=delay)
    turn.must(LogIn, *pair.key, LogIn.open_at.is_not_distinct_from(row.open_at), open_at=later)


def _too_early(seconds: int) -> Unauthorized:
    return Unauthorized("Too many log-ins failed; try again later.", retry_after=max(seconds, 1))


def _fail(turn: Turn, pair: Pair) -> None:
    row = _find(turn, pair)
    if row is None:
        turn.add(LogIn(who=pair.who, address=pair.address, failures=1, last=turn.now))
        return
    failures = _failures(turn, row) + 1
    later = turn.now + datetime.timedelta(seconds=_delay(turn, failures))
    facts = (*pair.key, LogIn.failures == row.failures)
    turn.must(LogIn, *facts, failures=failures, last=turn.now, open_at=later)


def _is_news(turn: Turn, pair: Pair) -> bool:
    row = _find(turn, pair)
    known = row is not None and row.good_at is not None and row.good_at > turn.now - GOOD_NOTED
    return not known or bool(row and row.failures)


def _succeed(turn: Turn, pair: Pair) -> None:
    now = turn.now
    values = {"failures": 0, "last": now, "open_at": None, "good_at": now}
    if not turn.change(LogIn, *pair.key, **values):
        turn.add(LogIn(who=pair.who, address=pair.address, **values))
