"""Statements that are made once for each shape: making one takes longer than running it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, exists, insert, literal, select, update

from conductor.db.models import Base

Values = Mapping[str, Any]
"""By the names of a kind's columns."""


@dataclass(frozen=True)
class There:
    """A fact of another table: a row with these values is there."""

    kind: type[Base]
    values: Values


@dataclass(frozen=True)
class Room:
    """A fact: what is used and so much more is no more than there is.

    :ivar used: the name of the column that counts what is used
    :ivar more: how much more
    :ivar of: the name of the column with what there is; without one, there is ``times``
    :ivar times: how many times that column's value may be used
    """

    used: str
    more: int
    of: str | None
    times: float


@dataclass(frozen=True)
class More:
    """A value: what the column has and so much more, or less, when it is negative.

    Not for a row that was read: it would not have the sum.
    """

    count: int


Named = Values | There | Room
"""A fact by names; a tuple has the values that are as good as each other."""
Fact = sa.ColumnElement[bool] | Named
_NAMED = (Mapping, There, Room)


class Compared(NamedTuple):
    """The shape of a fact that names columns' values.

    :ivar of: of which other table the fact is
    :ivar columns: by name, how many values each is compared with; None for NULL
    """

    of: type[Base] | None
    columns: tuple[tuple[str, int | None], ...]


class Bounded(NamedTuple):
    """The shape of :class:`Room`."""

    used: str
    of: str | None


Shape = Compared | Bounded
Bind = Callable[[Any], Any]
"""Gives what stands for a fact's next value, which is of that SQL type."""


def make_update(
    kind: type[Base], facts: Iterable[Fact], values: Values
) -> tuple[sa.Update, dict[str, Any]]:
    """The UPDATE of the rows for which all facts hold, and its parameters."""
    named = [fact for fact in facts if isinstance(fact, _NAMED)]
    others = [fact for fact in facts if not isinstance(fact, _NAMED)]
    shapes = tuple(map(_shape_of, named))
    compared = list(_compared(named))
    if others or any(map(_is_sql, values.values())):
        literals = iter(compared)
        others += _conditions(kind, shapes, lambda _: next(literals))
        made = sa.update(kind).where(*others).values(**_sums(kind, values))
        return made.execution_options(synchronize_session=False), {}
    more = frozenset(name for name, value in values.items() if isinstance(value, More))
    parameters = {
        f"new_{name}": value.count if name in more else value for name, value in values.items()
    }
    parameters |= {f"fact_{place}": value for place, value in enumerate(compared)}
    return _update(kind, shapes, tuple(values), more), parameters


def _sums(kind: type[Base], values: Values) -> dict[str, Any]:
    return {
        name: getattr(kind, name) + value.count if isinstance(value, More) else value
        for name, value in values.items()
    }


def make_insert(row: Base) -> tuple[sa.Insert, dict[str, Any]]:
    """The INSERT of a row, which gets its defaults, and its parameters; what is None is NULL."""
    kind, values = type(row), row.__dict__
    for name, default in _defaults(kind):
        if values.get(name) is None:
            values[name] = default(None)
    known = {name: values[name] for name in _names(kind) if values.get(name) is not None}
    return _insert(kind, tuple(known)), {f"new_{name}": value for name, value in known.items()}


@functools.cache
def _names(kind: type[Base]) -> list[str]:
    return list(sa.inspect(kind).columns.keys())


@functools.cache
def _defaults(kind: type[Base]) -> list[tuple[str, Callable[[None], Any]]]:
    found: list[tuple[str, Callable[[None], Any]]] = []
    for name, column in sa.inspect(kind).columns.items():
        given: Any = column.default
        if given is not None:
            found.append((name, given.arg if given.is_callable else partial(_given, given.arg)))
    return found


def _given(value: Any, _context: None) -> Any:
    return value


@functools.cache
def _insert(kind: type[Base], names: tuple[str, ...]) -> sa.Insert:
    return insert(kind.__table__).values(_new(kind, names))  # type: ignore[arg-type]


def _new(kind: type[Base], names: Iterable[str]) -> dict[str, sa.BindParameter[Any]]:
    columns = sa.inspect(kind).columns
    return {name: bindparam(f"new_{name}", type_=columns[name].type) for name in names}


@functools.cache
def _update(
    kind: type[Base], shapes: tuple[Shape, ...], changed: tuple[str, ...], more: frozenset[str]
) -> sa.Update:
    places, columns = itertools.count(), sa.inspect(kind).columns
    conditions = _conditions(
        kind, shapes, lambda type_: bindparam(f"fact_{next(places)}", type_=type_)
    )
    made = update(kind.__table__).where(*conditions)  # type: ignore[arg-type]
    new = _new(kind, changed)
    return made.values(new | {name: columns[name] + new[name] for name in more})


def _conditions(
    kind: type[Base], shapes: Iterable[Shape], bind: Bind
) -> Iterator[sa.ColumnElement[bool]]:
    for shape in shapes:
        if isinstance(shape, Bounded):
            yield _bound(kind, shape, bind)
            continue
        columns = sa.inspect(shape.of or kind).columns
        facts = [_compare(columns[name], count, bind) for name, count in shape.columns]
        if shape.of is None:
            yield from facts
        else:
            yield exists(select(literal(1)).select_from(shape.of.__table__).where(*facts))


def _bound(kind: type[Base], shape: Bounded, bind: Bind) -> sa.ColumnElement[bool]:
    columns = sa.inspect(kind).columns
    used = columns[shape.used]
    wanted, times = used + bind(used.type), bind(sa.Float())  # a column's INTEGER would round it
    bound: sa.ColumnElement[bool] = wanted <= (columns[shape.of] * times if shape.of else times)
    return bound


def _compare(column: Any, count: int | None, bind: Bind) -> sa.ColumnElement[bool]:
    fact: sa.ColumnElement[bool]
    if count is None:
        fact = column.is_(None)
    elif count == 1:
        fact = column == bind(column.type)
    else:
        fact = column.in_([bind(column.type) for _ in range(count)])
    return fact


def _shape_of(fact: Named) -> Shape:
    if isinstance(fact, Room):
        return Bounded(fact.used, fact.of)
    of = fact.kind if isinstance(fact, There) else None
    return Compared(of, tuple((name, _count(value)) for name, value in _values_of(fact).items()))


def _count(value: Any) -> int | None:
    if value is None:
        return None
    return len(value) if isinstance(value, tuple) else 1


def _compared(facts: Iterable[Named]) -> Iterator[Any]:
    for fact in facts:
        if isinstance(fact, Room):
            yield from (fact.more, fact.times)
            continue
        for value in _values_of(fact).values():
            if isinstance(value, tuple):
                yield from value
            elif value is not None:
                yield value


def _values_of(fact: Values | There) -> Values:
    return fact.values if isinstance(fact, There) else fact


def _is_sql(value: Any) -> bool:
    return hasattr(value, "__clause_element__") or isinstance(value, sa.ClauseElement)
