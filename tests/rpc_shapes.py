"""Arguments for every method that a process serves: right ones, spoilt ones, and nonsense."""

from __future__ import annotations

import copy
import enum
import inspect
import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from paddock import clients

JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, -(2**63), 2**63, 2**64, 10**400, 1e308, -0.5,
    float("inf"), float("nan"), "", " ", "\0", "a\0b", "\ud800", "\u202e", "😀" * 300, "x" * 5000,
    "..", "../../etc/passwd", "' OR 1=1 --", "%s%n", "$(id)", "1.1", "99.99", "[]", "null",
    [], [None], [[]], [[[[[]]]]], [1, "a"], {}, {"": {}}, {"id": {}}, {"a": [{"b": [{}]}]},
    {"ok": 1, "error": 2}, {"type": "Exception", "message": []}, {"type": "X", "kwargs": [1]},
]  # fmt: skip


def served(endpoint: type) -> dict[str, dict[str, Any]]:
    """Methods that an endpoint exposes, with their arguments' types, as its client has them where
    the endpoint takes any document."""
    return {
        name: _arguments(name, method)
        for name, method in vars(endpoint).items()
        if hasattr(method, "exposed")
    }


def _arguments(name: str, method: Any) -> dict[str, Any]:
    known = list(inspect.signature(method).parameters)[2:]
    hints = get_type_hints(method)
    for client in (clients.LedgerClient, clients.CatalogClient, clients.ConductorClient):
        told = get_type_hints(getattr(client, name)) if hasattr(client, name) else {}
        hints |= {each: kind for each, kind in told.items() if each in known}
    if name.startswith("list_"):
        hints["listing"] = clients.r.Listing
    return {each: hints[each] for each in known}


class Shapes:
    """Strategies for values of a type.

    :param words: texts that mean something to the receiver, by the names under which they do; under
        the empty name for all others
    :param fields: names that its documents may have
    """

    def __init__(self, words: dict[str, list[str]], fields: list[str]) -> None:
        self._words = words
        self._names = st.sampled_from(fields)
        self._junk = st.sampled_from(JUNK)
        scalars = self._text("") | st.integers(-1, 3) | st.booleans() | st.none()
        self._any = scalars | st.lists(scalars, max_size=2) | self._document(scalars)

    def arguments(self, kinds: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        """Arguments of a method; half of them are spoilt in one or two places."""
        right = st.fixed_dictionaries({name: self.of(kind, name) for name, kind in kinds.items()})
        blows = st.just([]) | st.lists(self._blow(), min_size=1, max_size=2)
        return st.tuples(right, blows).map(_spoil)

    def of(self, kind: Any, name: str = "") -> st.SearchStrategy[Any]:
        """Right values of a type, as a message holds them; ``name`` is what they are for."""
        origin, inner = get_origin(kind), get_args(kind)
        if kind is Any:
            return self._any
        if origin is Annotated:
            return st.sampled_from(["1.0", "1.1"])  # all of them are versions
        if origin in (Union, types.UnionType):
            return st.one_of([self.of(each, name) for each in inner])
        if origin is Literal:
            return st.sampled_from(inner)
        if origin is list:
            return st.lists(self.of(inner[0], name), max_size=3)
        if origin is tuple:
            return st.tuples(*[self.of(each, name) for each in inner]).map(list)
        if origin is dict:
            return self._document(self.of(inner[1], name))
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._record(kind)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return st.sampled_from([each.value for each in kind])
        return self._plain(kind, name)

    def _plain(self, kind: Any, name: str) -> st.SearchStrategy[Any]:
        plain: dict[Any, st.SearchStrategy[Any]] = {
            str: self._text(name),
            int: st.integers(0, 5) | st.integers(),
            float: st.floats(0, 100) | st.floats(),
            bool: st.booleans(),
            type(None): st.none(),
            dict: self._document(self._text("")),
        }
        return plain[kind]

    def _text(self, name: str) -> st.SearchStrategy[str]:
        every = st.sampled_from(sorted({word for words in self._words.values() for word in words}))
        own = st.sampled_from(self._words.get(name, self._words[""]))
        return own | own | own | every

    def _document(self, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.dictionaries(self._names, values, max_size=3)

    def _record(self, kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
        hints = get_type_hints(kind, include_extras=True)
        names = [field.name for field in msgspec.structs.fields(kind)]
        return st.fixed_dictionaries({name: self.of(hints[name], name) for name in names})

    def _blow(self) -> st.SearchStrategy[Any]:
        how = st.sampled_from(["replace", "replace", "drop", "add"])
        return st.tuples(how, st.integers(0, 10**6), self._names, self._junk | self._any)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _spoil(drawn: tuple[dict[str, Any], list[Any]]) -> dict[str, Any]:
    value, blows = copy.deepcopy(drawn)
    for how, number, name, junk in blows:
        places = list(_places(value))
        if not places:
            continue
        holder, key = places[number % len(places)]
        if how == "drop":
            del holder[key]
        elif how == "add" and isinstance(holder, dict):
            holder[name] = junk
        else:
            holder[key] = copy.deepcopy(junk)
    return dict(value)


def on_the_wire(value: dict[str, Any]) -> dict[str, Any]:
    """What arrives of a message: JSON as the bus's library reads it."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return found
