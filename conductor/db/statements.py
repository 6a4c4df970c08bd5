"""Statements that are made once for each shape: making one takes longer than running it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

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


Named = Values | There
"""A fact by names; a tuple has the values that are as good as each other."""
Fact = sa.ColumnElement[bool] | Named
Shape = tuple[type[Base] | None, tuple[tuple[str, int | None], ...]]
"""Of which other table a fact is, and of its columns, by name, how many values each is compared
with; None for NULL."""
Bind = Callable[[Any], Any]
"""Gives what a column is compared with."""


def make_update(
    kind: type[Base], facts: Iterable[Fact], values: Values
) -> tuple[sa.Update, dict[str, Any]]:
    """The UPDATE of the rows for which all facts hold, and its parameters."""
    named = [fact for fact in facts if isinstance(fact, Mapping | There)]
    others = [fact for fact in facts if not isinstance(fact, Mapping | There)]
    shapes = tuple(map(_shape_of, named))
    compared = list(_compared(named))
    if others or any(map(_is_sql, values.values())):
        literals = iter(compared)
        others += _conditions(kind, shapes, lambda _: next(literals))
        made = sa.update(kind).where(*others).values(**values)
        return made.execution_options(synchronize_session=False), {}
    parameters = {f"new_{name}": value for name, value in values.items()}
    parameters |= {f"fact_{place}": value for place, value in enumerate(compared)}
    return _update(kind, shapes, tuple(values)), parameters


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
def _update(kind: type[Base], shapes: tuple[Shape, ...], changed: tuple[str, ...]) -> sa.Update:
    places = itertools.count()
    conditions = _conditions(
        kind, shapes, lambda column: bindparam(f"fact_{next(places)}", type_=column.type)
    )
    made = update(kind.__table__).where(*conditions)  # type: ignore[arg-type]
    return made.values(_new(kind, changed))


def _conditions(
    kind: type[Base], shapes: Iterable[Shape], bind: Bind
) -> Iterator[sa.ColumnElement[bool]]:
    for of, compared in shapes:
        columns = sa.inspect(of or kind).columns
        facts = [_compare(columns[name], count, bind) for name, count in compared]
        if of is None:
            yield from facts
        else:
            yield exists(select(literal(1)).select_from(of.__table__).where(*facts))


def _compare(column: Any, count: int | None, bind: Bind) -> sa.ColumnElement[bool]:
    fact: sa.ColumnElement[bool]
    if count is None:
        fact = column.is_(None)
    elif count == 1:
        fact = column == bind(column)
    else:
        fact = column.in_([bind(column) for _ in range(count)])
    return fact


def _shape_of(fact: Named) -> Shape:
    of = fact.kind if isinstance(fact, There) else None
    return of, tuple((name, _count(value)) for name, value in _values_of(fact).items())


def _count(value: Any) -> int | None:
    if value is None:
        return None
    return len(value) if isinstance(value, tuple) else 1


def _compared(facts: Iterable[Named]) -> Iterator[Any]:
    for fact in facts:
        for value in _values_of(fact).values():
            if isinstance(value, tuple):
                yield from value
            elif value is not None:
                yield value


def _values_of(fact: Named) -> Values:
    return fact.values if isinstance(fact, There) else fact


def _is_sql(value: Any) -> bool:
    return hasattr(value, "__clause_element__") or isinstance(value, sa.ClauseElement)
