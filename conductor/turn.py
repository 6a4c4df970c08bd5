"""One transaction over the ledger: what it reads, what it changes, what to say afterwards.

Every change names the facts that it was decided on in its WHERE; when one of them has moved on,
:class:`Moved` undoes the attempt and the decision is made anew on fresh rows. So nothing here
needs SELECT FOR UPDATE, and it is the same on SQLite, PostgreSQL and MariaDB.
"""

from __future__ import annotations

import datetime
import functools
import logging
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import sqlalchemy as sa
from oslo_config import cfg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from conductor.db.models import Base, Host, Step
from conductor.db.statements import Fact, make_insert, make_update
from paddock import failpoints
from paddock.errors import PaddockError, ServiceUnavailable
from paddock.versions import FIRST

LOG = logging.getLogger(__name__)
T = TypeVar("T")
Row = TypeVar("Row", bound=Base)
ATTEMPTS = 10
FRESH = {"populate_existing": True}


class Moved(Exception):
    """A fact that was read is no longer so: undo, read again, decide again."""


@dataclass(frozen=True)
class Hint:
    """A step that waits on a host, as that host's agent hears of it.

    :ivar rpc_version: what that agent last told
    """

    host: str
    step_id: str
    instance_id: str
    kind: str
    attempt: int
    rpc_version: str = FIRST


class Store(Protocol):
    """What the ledger needs of a database."""

    def transaction(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` in one transaction, again after a deadlock."""

    def read(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` that only reads."""

    def now(self, session: Session) -> datetime.datetime:
        """The database's clock, naive UTC."""

    @property
    def moment(self) -> sa.ColumnElement[datetime.datetime] | None:
        """That clock in SQL, where it is the database's."""


@dataclass
class Turn:
    """One transaction.

    :ivar clock: reads the database's clock, naive UTC
    :ivar conf: the options of the group ``conductor``
    :ivar random: source of ids and addresses
    :ivar call_timeout: seconds after which a call to a conductor has expired
    :ivar moment: the database's clock in SQL, if it has one
    :ivar hints: sent after the commit
    :ivar told: logged after the commit: a text, and what it is about
    :ivar refused: what the caller asked for and has no part in; kept also when the turn fails
    """

    session: Session
    clock: Callable[[], datetime.datetime]
    conf: Any
    random: random.Random
    call_timeout: float
    moment: sa.ColumnElement[datetime.datetime] | None = None
    hints: list[Hint] = field(default_factory=list)
    told: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _now: datetime.datetime | None = field(default=None, init=False, repr=False)
    _ahead: dict[tuple[type[Base], Any], Base | None] = field(
        default_factory=dict, init=False, repr=False
    )
    _versions: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _wrote: bool = field(default=False, init=False, repr=False)

    @property
    def now(self) -> datetime.datetime:
        """The moment of this transaction: the database's clock when it was first asked."""
        if self._now is None:  # a cached_property would hold one lock for all turns meanwhile
            self._now = self.clock()
        return self._now

    def look_ahead(self, *wanted: tuple[type[Base], Any]) -> None:
        """Read several rows in one statement: :meth:`get` has them from here until they change.

        :param wanted: kind and key of each; a key may be a column of a kind before it
        :raises ValueError: a kind's key has more than one column
        """
        shape = tuple((kind, key if _is_column(key) else None) for kind, key in wanted)
        values = {f"key_{place}": key for place, (_, key) in enumerate(wanted)}
        query = _joined(shape, self.moment if self._now is None else None)
        known = {name: value for name, value in values.items() if not _is_column(value)}
        row = self.session.execute(query, known, execution_options=FRESH).one()
        for (kind, key), found in zip(wanted, row, strict=False):
            if found is not None:
                self._ahead[kind, _key_of(found)] = found
            elif not _is_column(key):
                self._ahead[kind, key] = None
        if len(row) > len(wanted):
            self._now = row[-1]

    def get(self, kind: type[Row], key: Any) -> Row | None:
        """The row as it is now, None when there is none."""
        if (kind, key) in self._ahead:
            return cast("Row | None", self._ahead[kind, key])
        return self.session.get(kind, key, populate_existing=True)

    def all(self, query: sa.Select[tuple[Row]], **parameters: Any) -> list[Row]:
        """The rows of a query as they are now.

        :param parameters: of a query that was made once: making one takes longer than to run it
        """
        return list(self.session.scalars(query, parameters, execution_options=FRESH))

    def first(self, query: sa.Select[tuple[Row]]) -> Row | None:
        """The first row of a query as it is now, None when there is none."""
        fresh = query.limit(1).execution_options(populate_existing=True)
        return self.session.scalars(fresh).first()

    def change(self, kind: type[Base], *facts: Fact, **values: Any) -> int:
        """Update the rows for which all facts hold; gives how many."""
        self._forget(kind)
        return self._execute(*make_update(kind, facts, values))

    def must(self, kind: type[Base], *facts: Fact, **values: Any) -> None:
        """Update exactly one row, or raise Moved."""
        if self.change(kind, *facts, **values) != 1:
            raise Moved

    def alter(self, row: Base, *facts: Fact, **values: Any) -> None:
        """Update a row that was read if all facts hold, or raise Moved; then it has the values.

        :raises ValueError: its key has more than one column
        """
        kind, key = type(row), _key_of(row)
        was_ahead = self._ahead.get((kind, key)) is row
        self.must(kind, {_key_column(kind).key: key}, *facts, **values)
        row.__dict__.update(values)  # SQLAlchemy would write them again
        if was_ahead:
            self._ahead[kind, key] = row

    def drop(self, kind: type[Base], *facts: sa.ColumnElement[bool]) -> int:
        """Delete the rows for which all facts hold; gives how many."""
        self._forget(kind)
        statement = sa.delete(kind).where(*facts)
        return self._execute(statement.execution_options(synchronize_session=False))

    def add(self, row: Base) -> None:
        """Insert a row now; IntegrityError when it is there.

        It has its defaults then. What is changed in it later is not written: see :meth:`alter`.
        """
        self._forget(type(row))
        if _has_key(row):
            self._execute(*make_insert(row))
        else:  # which the database makes
            self._wrote = True
            self.session.add(row)
            self.session.flush()

    def hint(self, step: Step) -> None:
        """Have a step's host hear of it after the commit."""
        version = self.rpc_version(step.host)
        told = Hint(step.host, step.id, step.instance_id, step.kind, step.attempt, version)
        self.hints.append(told)

    def rpc_version(self, host: str) -> str:
        """What a host's agent last told; asks the database only if the host was not read yet."""
        if host not in self._versions:
            row = cast("Host | None", self._ahead.get((Host, host))) or self.session.get(Host, host)
            self._versions[host] = row.rpc_version if row else FIRST
        return self._versions[host]

    def tell(self, text: str, **about: str) -> None:
        """Have a line logged after the commit.

        :param about: fields of the log's records
        """
        self.told.append((text, about))

    def refuse(self, text: str) -> None:
        """Note that a part of what was asked is not the caller's, and was not done."""
        if text not in self.refused:  # facts that moved have it said again
            self.refused.append(text)

    def new_id(self) -> str:
        """A new random UUID."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def attempt(self, fn: Callable[[], T]) -> T:
        """Run ``fn``, again while facts move; what it raises undoes it, and nothing before it.

        :raises ServiceUnavailable: the facts moved too often
        """
        for _ in range(ATTEMPTS):
            with suppress(Moved, IntegrityError), self._undoing():
                return fn()
        raise ServiceUnavailable("Too many others change the same rows; try again.")

    def all_at_once(self, functions: Sequence[Callable[[], T]]) -> list[T] | None:
        """What the functions give; None when one cannot be done as things are: then none is."""
        with suppress(Moved, IntegrityError, PaddockError), self._undoing():
            return [fn() for fn in functions]
        return None

    @contextmanager
    def _undoing(self) -> Iterator[None]:
        """What fails leaves nothing, neither in the database nor to be said."""
        hints, told = len(self.hints), len(self.told)
        try:
            with self._undoing_rows():
                yield
        except BaseException:
            del self.hints[hints:], self.told[told:]
            self._ahead.clear()
            raise

    @contextmanager
    def _undoing_rows(self) -> Iterator[None]:
        """A savepoint, unless nothing was written that must stay: it costs two statements."""
        if self._wrote:
            with self.session.begin_nested():
                yield
            return
        try:
            yield
        except BaseException:
            self.session.rollback()
            self._wrote = False
            raise

    def _forget(self, kind: type[Base]) -> None:
        for key in [key for key in self._ahead if key[0] is kind]:
            del self._ahead[key]

    def _execute(self, statement: Any, parameters: dict[str, Any] | None = None) -> int:
        self._wrote = True
        self.session.flush()
        done: Any = self.session.execute(statement, parameters)
        return int(done.rowcount)


def _is_column(key: Any) -> bool:
    return isinstance(key, InstrumentedAttribute)


@functools.cache
def _key_column(kind: type[Base]) -> Any:
    (column,) = sa.inspect(kind).primary_key  # part of a key would name other rows, too
    return column


def _has_key(row: Base) -> bool:
    return None not in sa.inspect(type(row)).primary_key_from_instance(row)


def _key_of(row: Base) -> Any:
    return getattr(row, _key_column(type(row)).key)


@functools.cache
def _joined(
    shape: tuple[tuple[type[Base], Any], ...], moment: sa.ColumnElement[datetime.datetime] | None
) -> sa.Select[Any]:
    """One row with a row of each kind, or None for it, and with the moment, if that is asked for.

    :param shape: kind, and the column that has its key, or None for a parameter
    """
    keys = [
        sa.bindparam(f"key_{place}", type_=_key_column(kind).type).label(f"key_{place}")
        for place, (kind, column) in enumerate(shape)
        if column is None
    ]
    asked = sa.select(*keys).subquery("asked")
    source: Any = asked
    for place, (kind, column) in enumerate(shape):
        key = asked.c[f"key_{place}"] if column is None else column
        source = sa.outerjoin(source, kind, _key_column(kind) == key)
    clock = [] if moment is None else [moment]
    return sa.select(*(kind for kind, _ in shape), *clock).select_from(source)


class Turns:
    """Runs transactions over the ledger and sends what they leave to say.

    :param store: the database
    :param conf: a process's configuration
    :param hint: told of each waiting step after the commit; must not wait
    :param source: of ids and addresses, for repeatable runs
    """

    def __init__(
        self,
        store: Store,
        conf: cfg.ConfigOpts,
        hint: Callable[[Hint], None],
        source: random.Random | None = None,
    ) -> None:
        self._store = store
        self._conf = conf
        self._hint = hint
        self._random = source or random.SystemRandom()

    def run(self, fn: Callable[[Turn], T]) -> T:
        """Run ``fn`` in one transaction, then send its hints and log what it told."""
        turn, answer = self._store.transaction(lambda session: self._change(session, fn))
        failpoints.hit("ledger.committed")
        for hint in turn.hints:
            failpoints.hit("ledger.before-hint")
            self._hint(hint)
        for text, about in turn.told:
            LOG.info("%s", text, extra=about)
        return answer

    def read(self, fn: Callable[[Turn], T]) -> T:
        """Run ``fn`` that only reads."""
        return self._store.read(lambda session: fn(self._turn(session)))

    def _change(self, session: Session, fn: Callable[[Turn], T]) -> tuple[Turn, T]:
        turn = self._turn(session)
        return turn, fn(turn)

    def _turn(self, session: Session) -> Turn:
        conf, clock = self._conf, functools.partial(self._store.now, session)
        return Turn(
            session, clock, conf.conductor, self._random, conf.call_timeout, self._store.moment
        )


def by_id(items: Sequence[T], key: Callable[[T], str]) -> list[tuple[int, T]]:
    """The items with their places, in the order of their ids: locks are taken in that order."""
    return sorted(enumerate(items), key=lambda pair: key(pair[1]))


def each(
    turn: Turn, items: Sequence[T], key: Callable[[T], str], fn: Callable[[T], Any]
) -> list[dict[str, Any]]:
    """Run ``fn`` on each item, in id order; one that fails fails alone.

    :return: for each item, in the order given, ``{"ok": result}`` or ``{"error": document}``
    """
    in_order = by_id(items, key)
    tries = [functools.partial(fn, item) for _, item in in_order]
    done = turn.all_at_once(tries) if len(tries) > 1 else None  # without a savepoint for each
    answers = [_alone(turn, one) for one in tries] if done is None else [{"ok": it} for it in done]
    found = {place: answer for (place, _), answer in zip(in_order, answers, strict=True)}
    return [found[place] for place in range(len(items))]


def _alone(turn: Turn, fn: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"ok": turn.attempt(fn)}
    except PaddockError as error:
        if not isinstance(error, ServiceUnavailable):
            turn.refuse(error.message)
        return {"error": error.to_wire()}
