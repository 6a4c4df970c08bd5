"""A session that runs the conductor's statements on SQLite at little more than SQLite's price.

It behaves as SQLAlchemy's does towards the conductor: one object per row and session, read anew
by every query; a test runs the same schedules over both and compares what happens.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql.visitors import iterate

from conductor.db.models import Base
from tests.simulation.light import Binder, Statement, Uncacheable

T = TypeVar("T")
STATEMENTS = 2000
TABLES = sorted(Base.metadata.tables)
DIALECT = sqlite.dialect()  # type: ignore[no-untyped-call]
Process = Callable[[Any], Any]


@dataclass
class Compiled:
    """The SQL of one shape of statement.

    :ivar parameters: place in the statement's values, and the type's processor, for each
    :ivar entities: what a row is made of
    """

    text: str
    parameters: list[tuple[int, Process | None]]
    entities: list[Entity]


class Entity:
    """A mapped class, or a single column, among a statement's results."""

    def __init__(self, start: int, types: list[Any], names: list[str], kind: Any = None) -> None:
        self.start = start
        self.end = start + len(types)
        self.names = names
        self.kind = kind
        self.pk = [names.index(c.key) for c in sa.inspect(kind).primary_key] if kind else []
        made = [_reader(one.dialect_impl(DIALECT)) for one in types]
        self.processors = [(place, one) for place, one in enumerate(made) if one is not None]

    def read(self, row: tuple[Any, ...], known: dict[Any, Any]) -> Any:
        """The object of a row, or the column's value."""
        if self.kind is None:
            value = row[self.start]
            return self.processors[0][1](value) if self.processors else value
        values = list(row[self.start : self.end])
        for place, processor in self.processors:
            values[place] = processor(values[place])
        key = (self.kind, *[values[place] for place in self.pk])
        if key[1] is None:
            return None
        found = known.get(key)
        if found is None:
            found = known[key] = self.kind.__new__(self.kind)
        found.__dict__.update(zip(self.names, values, strict=True))
        return found


def _reader(kind: Any) -> Process | None:
    return _read_json if isinstance(kind, sa.JSON) else kind.result_processor(DIALECT, None)


def _read_json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


def _writer(kind: Any) -> Process | None:
    return _say_moment if isinstance(kind, sa.DateTime) else kind.bind_processor(DIALECT)


def _say_moment(moment: datetime.datetime | None) -> str | None:
    """As SQLAlchemy's own does, which takes several times as long."""
    return None if moment is None else moment.isoformat(" ", "microseconds")


class Result:
    """As much of SQLAlchemy's result as the conductor uses."""

    def __init__(self, rows: list[Any], rowcount: int = -1) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def tuples(self) -> Result:
        """See SQLAlchemy."""
        return self

    def all(self) -> list[Any]:
        """See SQLAlchemy."""
        return self._rows

    def first(self) -> Any:
        """See SQLAlchemy."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """See SQLAlchemy."""
        (row,) = self._rows
        return row


class Table:
    """How to read and write single rows of a mapped class."""

    def __init__(self, kind: Any) -> None:
        mapper = sa.inspect(kind)
        columns = [(attribute.key, attribute.columns[0]) for attribute in mapper.column_attrs]
        self.names = [name for name, _ in columns]
        listed = ", ".join(f'"{column.name}"' for _, column in columns)
        keys = [column.name for column in mapper.primary_key]
        self.single = len(keys) == 1
        where = " AND ".join(f'"{name}" = ?' for name in keys)
        table = mapper.local_table.name
        self.get = f"SELECT {listed} FROM {table} WHERE {where}"
        marks = ", ".join("?" * len(columns))
        self.insert = f"INSERT INTO {table} ({listed}) VALUES ({marks})"
        self.entity = Entity(0, [column.type for _, column in columns], self.names, kind)
        self.columns = [
            (name, column.default, _writer(column.type.dialect_impl(DIALECT)))
            for name, column in columns
        ]

    def values(self, row: Any) -> list[Any]:
        """What to insert for an object, which gets its defaults."""
        values = []
        for name, default, processor in self.columns:
            value = row.__dict__.get(name)
            if value is None and default is not None:
                value = default.arg(None) if default.is_callable else default.arg
            row.__dict__[name] = value
            # None is SQL's NULL also where JSON has one of its own, as the ORM has it by default.
            values.append(value if value is None or processor is None else processor(value))
        return values


@dataclass
class Ready:
    """A statement that SQLAlchemy made.

    :ivar values: of each of its parameters the name and the default
    """

    compiled: Compiled
    values: list[tuple[str, Any]]


class Shapes:
    """The statements that were seen, compiled; shared by all sessions of a worker process.

    Those that SQLAlchemy made are known by themselves while they are there: the conductor keeps
    those that it runs often.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Compiled] = {}
        self._ready: WeakKeyDictionary[Any, Ready] = WeakKeyDictionary()
        self._tables: dict[Any, Table] = {}

    def table(self, kind: Any) -> Table:
        """The table of a mapped class."""
        found = self._tables.get(kind)
        if found is None:
            found = self._tables[kind] = Table(kind)
        return found

    def compiled(
        self, statement: Any, values: list[Any], parameters: Mapping[str, Any]
    ) -> Compiled:
        """The SQL of a statement, whose values are appended."""
        ready = None
        if isinstance(statement, Statement):
            try:
                key = statement.key(values)
                return self._known.get(key) or self._keep(key, statement)
            except Uncacheable:
                values.clear()
                ready = _make_ready(statement.real(Binder(named=False)))
        ready = ready or self._ready.get(statement) or self._keep_ready(statement)
        values += [parameters.get(name, default) for name, default in ready.values]
        return ready.compiled

    def _keep_ready(self, statement: Any) -> Ready:
        found = statement._generate_cache_key()
        if found is None or any(one.expanding for one in found.bindparams):
            ready = _make_ready(statement)
        else:
            compiled = self._known.get(found.key) or self._keep(found.key, statement)
            ready = Ready(compiled, [(one.key, one.effective_value) for one in found.bindparams])
        self._ready[statement] = ready
        return ready

    def _keep(self, key: Any, statement: Any) -> Compiled:
        made = self._known[key] = _compile(statement)
        return made


def _compile(statement: Any) -> Compiled:
    """Compile with named parameters, and find out which value each one is."""
    made, order = statement, None
    if isinstance(statement, Statement):
        binder = Binder(named=True)
        made = statement.real(binder)
        order = {id(parameter): place for place, parameter in enumerate(binder.real)}
    key = made._generate_cache_key()
    if key is None:
        raise Uncacheable
    compiler = DIALECT.statement_compiler(DIALECT, made, cache_key=key)
    matches, _ = compiler._cache_key_bind_match
    places = {}
    for number, original in enumerate(key.bindparams):
        place = number if order is None else order[id(original)]
        for bound in matches[original]:
            places[compiler.bind_names[bound]] = place
    processors = _writers(compiler)
    names = compiler.positiontup or []
    parameters: list[tuple[int, Process | None]] = [
        (places[name], processors.get(name))
        if name in places
        else (-1, lambda _, value=compiler.binds[name].value: value)
        for name in names
    ]
    return Compiled(str(compiler), parameters, _entities(made, compiler))


def _make_ready(made: Any) -> Ready:
    """A statement of a shape that depends on its values, such as how many a list has."""
    asked = [one.key for one in iterate(made) if getattr(one, "required", False)]
    filled = made.params(dict.fromkeys(asked)) if asked else made
    compiler = filled.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
    defaults = compiler.construct_params()
    names, processors = compiler.positiontup or [], _writers(compiler)
    values = [(name, defaults[name]) for name in names]
    parameters = [(place, processors.get(name)) for place, name in enumerate(names)]
    return Ready(Compiled(str(compiler), parameters, _entities(made, compiler)), values)


def _writers(compiler: Any) -> dict[str, Process]:
    found = dict(compiler._bind_processors)
    return {
        name: _say_moment if isinstance(bound.type, sa.DateTime) else found[name]
        for name, bound in compiler.binds.items()
        if name in found
    }


def _entities(made: Any, compiler: Any) -> list[Entity]:
    if not made.is_select:
        return []
    entities: list[Entity] = []
    start, columns = 0, compiler._result_columns
    for described in made.column_descriptions:
        kind = described["expr"] if isinstance(described["expr"], type) else None
        width = len(sa.inspect(kind).column_attrs) if kind else 1
        part = columns[start : start + width]
        names = [a.key for a in sa.inspect(kind).column_attrs] if kind else [""]
        entities.append(Entity(start, [column.type for column in part], names, kind))
        start += width
    return entities


class LightSession:
    """One transaction or read."""

    def __init__(self, raw: sqlite3.Connection, shapes: Shapes) -> None:
        self._raw = raw
        self._shapes = shapes
        self._known: dict[Any, Any] = {}
        self._depth = 0

    def get(self, kind: Any, key: Any, populate_existing: bool = True) -> Any:
        """See SQLAlchemy."""
        table = self._shapes.table(kind)
        row = self._raw.execute(table.get, (key,) if table.single else key).fetchone()
        return None if row is None else table.entity.read(row, self._known)

    def execute(
        self, statement: Any, parameters: Mapping[str, Any] | None = None,
        execution_options: object = None,
    ) -> Result:  # fmt: skip
        """See SQLAlchemy."""
        rows, entities, count = self._run(statement, parameters)
        if not entities:
            return Result([], count)
        known = self._known
        return Result([tuple(e.read(row, known) for e in entities) for row in rows])

    def scalars(
        self, statement: Any, parameters: Mapping[str, Any] | None = None,
        execution_options: object = None,
    ) -> Result:  # fmt: skip
        """See SQLAlchemy."""
        rows, entities, _ = self._run(statement, parameters)
        first, known = entities[0], self._known
        return Result([first.read(row, known) for row in rows])

    def scalar(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Any:
        """See SQLAlchemy."""
        return self.scalars(statement, parameters).first()

    def add(self, row: Any) -> None:
        """Insert a row at once."""
        kind = type(row)
        table = self._shapes.table(kind)
        self._execute(table.insert, table.values(row))
        self._known[(kind, *[getattr(row, table.names[place]) for place in table.entity.pk])] = row

    def flush(self) -> None:
        """Nothing waits."""

    @contextmanager
    def begin_nested(self) -> Iterator[None]:
        """See SQLAlchemy."""
        self._depth += 1
        name = f"s{self._depth}"
        self._raw.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            self._raw.execute(f"ROLLBACK TO {name}")
            self._read_again()
            raise
        finally:
            self._raw.execute(f"RELEASE {name}")
            self._depth -= 1

    def _read_again(self) -> None:
        for key in list(self._known):
            if self.get(key[0], key[1] if len(key) == 2 else key[1:]) is None:
                del self._known[key]

    def rollback(self) -> None:
        """See SQLAlchemy; the next transaction begins at once."""
        self._raw.execute("ROLLBACK")
        self._raw.execute("BEGIN IMMEDIATE")
        self._known.clear()

    def _run(
        self, statement: Any, parameters: Mapping[str, Any] | None = None
    ) -> tuple[Any, list[Entity], int]:
        values: list[Any] = []
        compiled = self._shapes.compiled(statement, values, parameters or {})
        bound = [
            values[place] if processor is None else processor(values[place] if values else None)
            for place, processor in compiled.parameters
        ]
        cursor = self._execute(compiled.text, bound)
        return cursor, compiled.entities, cursor.rowcount

    def _execute(self, text: str, values: list[Any]) -> sqlite3.Cursor:
        try:
            return self._raw.execute(text, values)
        except sqlite3.IntegrityError as error:
            raise IntegrityError(text, values, error) from error


class LightSessions:
    """As ``sessions.Sessions``."""

    def __init__(self) -> None:
        self.raw = sqlite3.connect(":memory:", isolation_level=None, cached_statements=STATEMENTS)
        engine = sa.create_engine("sqlite://", creator=lambda: self.raw, poolclass=StaticPool)
        Base.metadata.create_all(engine)
        self._engine = engine
        self._shapes = Shapes()
        self._copies = 0
        self.raw.execute("ATTACH ':memory:' AS copies")

    def begin(self) -> Any:
        """A session in which a transaction has begun."""
        self.raw.execute("BEGIN IMMEDIATE")
        return LightSession(self.raw, self._shapes)

    def commit(self, session: Any) -> None:
        """Keep what it changed."""
        self.raw.execute("COMMIT")

    def undo(self, session: Any) -> None:
        """Keep nothing."""
        self.raw.execute("ROLLBACK")

    def read(self, fn: Callable[[Any], T]) -> T:
        """Read."""
        return fn(LightSession(self.raw, self._shapes))

    def save(self) -> list[tuple[str, str]]:
        """The whole database, as copies of the tables that have rows."""
        copies = []
        for table in TABLES:
            if self.raw.execute(f"SELECT 1 FROM main.{table}").fetchone():
                copies.append((table, f"copies.{table}_{self._copies}"))
                self.raw.execute(f"CREATE TABLE {copies[-1][1]} AS SELECT * FROM main.{table}")
        self._copies += 1
        return copies

    def restore(self, copies: list[tuple[str, str]]) -> None:
        """The whole database as it was; the tables stay, so that statements stay prepared."""
        self.raw.execute("BEGIN")
        for table in TABLES:
            self.raw.execute(f"DELETE FROM main.{table}")
        for table, copy in copies:
            self.raw.execute(f"INSERT INTO main.{table} SELECT * FROM {copy}")
        self.raw.execute("COMMIT")

    def run(self, fn: Callable[[Any], T]) -> T:
        """A transaction without trouble."""
        session = self.begin()
        answer = fn(session)
        self.commit(session)
        return answer
