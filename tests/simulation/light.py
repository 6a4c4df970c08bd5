"""SQLAlchemy's statements, built, compared and compiled with less ado.

The conductor's own code makes the same statements again and again; most of the time goes into
making and comparing their expressions. The stand-ins here only note what is said; the first of
each shape becomes a real statement, which SQLAlchemy compiles, and the others take its SQL. Where
SQLAlchemy itself is told of one (inside an expression of another kind), it becomes a real one.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm.attributes import InstrumentedAttribute

PLAIN = (str, int, float, bool, datetime.datetime)
REAL = {name: getattr(sa, name) for name in ("select", "update", "delete", "and_", "or_")}
COMPARISONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")
METHODS = ("in_", "not_in", "is_", "is_not")
ORIGINAL = {name: getattr(InstrumentedAttribute, name) for name in (*COMPARISONS, *METHODS)}
Key = tuple[Any, ...]


class Binder:
    """Names the values of a statement that is made real, in the order of :meth:`Node.key`.

    :param named: whether values become parameters ``p0``, ``p1`` ... or stay values
    """

    def __init__(self, named: bool) -> None:
        self._named = named
        self.count = 0
        self.real: list[Any] = []

    def bind(self, value: Any, kind: Any) -> Any:
        """What stands for a value."""
        if not self._named:
            return value
        self.count += 1
        self.real.append(sa.bindparam(f"p{self.count - 1}", value, type_=kind))
        return self.real[-1]

    def embed(self, element: Any) -> Any:
        """A real expression, with parameters of its own."""
        if self._named:
            found = element._generate_cache_key()
            self.count += len(found.bindparams)
            self.real += found.bindparams
        return element


class Uncacheable(Exception):
    """An expression has no key, or a list of values of which the SQL depends."""


class Node:
    """Something that may stand in a statement."""

    __slots__ = ("_made",)
    is_clause_element = False

    def key(self, values: list[Any]) -> Key:
        """What tells this shape from others; its values are appended."""
        raise NotImplementedError

    def real(self, binder: Binder) -> Any:
        """SQLAlchemy's own."""
        raise NotImplementedError

    def __clause_element__(self) -> Any:
        try:
            return self._made
        except AttributeError:
            self._made = self.real(Binder(named=False))
            return self._made

    def __invert__(self) -> Any:
        return ~self.__clause_element__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_made":
            raise AttributeError(name)
        return getattr(self.__clause_element__(), name)


def key_of(thing: Any, values: list[Any]) -> Any:
    """The key of a node, of a mapped class or attribute, or of a real expression."""
    if isinstance(thing, Node):
        return thing.key(values)
    if _is_mapped(thing):
        return id(thing)  # it stays as long as its module
    found = thing._generate_cache_key() if hasattr(thing, "_generate_cache_key") else None
    if found is None or any(one.expanding for one in found.bindparams):
        raise Uncacheable
    values += [one.effective_value for one in found.bindparams]
    return found.key


def real_of(thing: Any, binder: Binder) -> Any:
    """SQLAlchemy's own of anything that :func:`key_of` takes."""
    if isinstance(thing, Node):
        return thing.real(binder)
    if _is_mapped(thing):
        return thing
    return binder.embed(thing)


def _is_mapped(thing: Any) -> bool:
    """Whether it is a mapped class or its attribute, and not an alias, which is made anew."""
    if isinstance(thing, InstrumentedAttribute):
        return not thing.parent.is_aliased_class
    return isinstance(thing, type)


class Fact(Node):
    """A column compared with a value."""

    __slots__ = ("column", "name", "value")

    def __init__(self, column: Any, name: str, value: Any) -> None:
        self.column = column
        self.name = name
        self.value = value

    def key(self, values: list[Any]) -> Key:
        """See the base."""
        value = self.value
        if value is None or value is True or value is False:
            return (id(self.column), self.name, value)
        if isinstance(value, tuple):
            values += value
            return (id(self.column), self.name, len(value))
        if isinstance(value, Node):
            return (id(self.column), self.name, value.key(values))
        if isinstance(value, InstrumentedAttribute):
            return (id(self.column), self.name, "column", id(value))
        values.append(value)
        return (id(self.column), self.name)

    def real(self, binder: Binder) -> Any:
        """See the base."""
        value, kind = self.value, self.column.type
        if isinstance(value, tuple):
            value = [binder.bind(one, kind) for one in value]
        elif isinstance(value, Node):
            value = value.real(binder)
        elif not (value is None or value is True or value is False or _is_mapped(value)):
            value = binder.bind(value, kind)
        return ORIGINAL[self.name](self.column, value)

    def __bool__(self) -> bool:
        return self.name == "__eq__" and self.column is self.value


class Both(Node):
    """``and_`` or ``or_``."""

    __slots__ = ("name", "parts")

    def __init__(self, name: str, parts: tuple[Any, ...]) -> None:
        self.name = name
        self.parts = parts

    def key(self, values: list[Any]) -> Key:
        """See the base."""
        return (self.name, *[key_of(part, values) for part in self.parts])

    def real(self, binder: Binder) -> Any:
        """See the base."""
        return REAL[self.name](*[real_of(part, binder) for part in self.parts])


class Exists(Node):
    """``EXISTS`` of a select, or its contrary."""

    __slots__ = ("negated", "query")

    def __init__(self, query: Any, negated: bool = False) -> None:
        self.query = query
        self.negated = negated

    def key(self, values: list[Any]) -> Key:
        """See the base."""
        return ("exists", self.negated, self.query.key(values))

    def real(self, binder: Binder) -> Any:
        """See the base."""
        found = self.query.real(binder).exists()
        return ~found if self.negated else found

    def __invert__(self) -> Any:
        return Exists(self.query, not self.negated)


class Statement(Node):
    """A select, an update or a delete: its subjects, and what was said of it."""

    __slots__ = ("name", "said", "subjects")

    def __init__(
        self, name: str, subjects: tuple[Any, ...], said: tuple[tuple[str, Any], ...] = ()
    ) -> None:
        self.name = name
        self.subjects = subjects
        self.said = said

    def _say(self, name: str, args: Any) -> Statement:
        return Statement(self.name, self.subjects, (*self.said, (name, args)))

    def where(self, *facts: Any) -> Statement:
        """See SQLAlchemy."""
        return self._say("where", facts)

    def order_by(self, *columns: Any) -> Statement:
        """See SQLAlchemy."""
        return self._say("order_by", columns)

    def join(self, *args: Any) -> Statement:
        """See SQLAlchemy."""
        return self._say("join", args)

    def outerjoin(self, *args: Any) -> Statement:
        """See SQLAlchemy."""
        return self._say("outerjoin", args)

    def distinct(self) -> Statement:
        """See SQLAlchemy."""
        return self._say("distinct", ())

    def limit(self, count: int) -> Statement:
        """See SQLAlchemy."""
        return self._say("limit", count)

    def values(self, **values: Any) -> Statement:
        """See SQLAlchemy."""
        return self._say("values", values)

    def execution_options(self, **_: Any) -> Statement:
        """The session here always reads rows anew, and never synchronises."""
        return self

    def exists(self) -> Exists:
        """See SQLAlchemy."""
        return Exists(self)

    def key(self, values: list[Any]) -> Key:
        """See the base."""
        parts: list[Any] = [self.name, *[key_of(one, values) for one in self.subjects]]
        for name, args in self.said:
            parts.append(name)
            if name == "values":
                parts += [self._key_value(column, args[column], values) for column in args]
            elif name == "limit":
                values.append(args)
            else:
                parts += [key_of(arg, values) for arg in args]
        return tuple(parts)

    def _key_value(self, name: str, value: Any, values: list[Any]) -> Any:
        if isinstance(value, Node) or hasattr(value, "__clause_element__") or _is_real(value):
            return (name, key_of(value, values))
        values.append(value)
        return name

    def real(self, binder: Binder) -> Any:
        """See the base."""
        made = REAL[self.name](*[real_of(one, binder) for one in self.subjects])
        for name, args in self.said:
            if name == "values":
                made = made.values({c: self._real_value(c, v, binder) for c, v in args.items()})
            elif name == "limit":
                made = made.limit(binder.bind(args, sa.Integer()))
            else:
                made = getattr(made, name)(*[real_of(arg, binder) for arg in args])
        return made

    def _real_value(self, name: str, value: Any, binder: Binder) -> Any:
        if isinstance(value, Node) or hasattr(value, "__clause_element__") or _is_real(value):
            return real_of(value, binder)
        return binder.bind(value, getattr(self.subjects[0], name).type)


def _is_real(value: Any) -> bool:
    return isinstance(value, sa.sql.ClauseElement)


def _compare(name: str) -> Callable[[Any, Any], Any]:
    original = ORIGINAL[name]

    def compare(column: Any, value: Any) -> Any:
        light = value is None or isinstance(value, PLAIN) or _is_mapped(value)
        if light and not column.parent.is_aliased_class:
            return Fact(column, name, value)
        return original(column, value)

    return compare


def _contain(name: str) -> Callable[[Any, Any], Any]:
    original = ORIGINAL[name]

    def contain(column: Any, values: Any) -> Any:
        if column.parent.is_aliased_class:
            return original(column, values)
        if isinstance(values, Statement):
            return Fact(column, name, values)
        several = isinstance(values, (tuple, list, set, frozenset)) and values
        if several and all(isinstance(value, PLAIN) for value in values):
            return Fact(column, name, tuple(values))
        return original(column, values)

    return contain


def _stand_ins() -> Iterator[tuple[Any, str, Any]]:
    for name in ("select", "update", "delete"):
        yield sa, name, lambda *subjects, name=name: Statement(name, subjects)
    for name in ("and_", "or_"):
        yield sa, name, lambda *parts, name=name: Both(name, parts)
    for name in COMPARISONS:
        yield InstrumentedAttribute, name, _compare(name)
    for name in ("in_", "not_in"):
        yield InstrumentedAttribute, name, _contain(name)
    for name in ("is_", "is_not"):
        yield InstrumentedAttribute, name, _compare(name)


@contextmanager
def installed() -> Iterator[None]:
    """Let statements be made lightly in this process."""
    replaced = list(_stand_ins())
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
