"""Peers of RPC version 1.0, made from the pinned table of what that version had.

What passes an old peer is cut down to what it knew: methods and arguments outside the table are
errors, unknown fields are dropped, and a field that it needed must be there with the type it had.
"""

from __future__ import annotations

import enum
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from paddock import rpc
from paddock.clients import Caller
from paddock.context import RequestContext
from paddock.versions import FIRST

FILE = Path(__file__).parent / "contract_1_0.json"
ANSWER = "->"


def is_optional(name: str) -> bool:
    """Whether the table says that a field or argument may be left out."""
    return name.endswith("?")


def bare(name: str) -> str:
    """A field's or argument's name without the table's mark."""
    return name.removesuffix("?")


class Names(dict[str, Any]):
    """The old release's types by name, made when they are asked for."""

    def __init__(self, table: dict[str, Any]) -> None:
        super().__init__(Any=Any, RpcVersion=str, Item=self)
        self._records: dict[str, dict[str, str]] = table["records"]
        self._values: dict[str, list[str]] = table["values"]

    def __missing__(self, name: Any) -> Any:
        if isinstance(name, str) and name in self._records:
            self[name] = self._record(name)
        elif isinstance(name, str) and name in self._values:
            self[name] = enum.StrEnum(name, {value.upper(): value for value in self._values[name]})
        elif isinstance(name, str):
            raise KeyError(name)
        else:  # Item[type]: one of a batch
            self[name] = _struct("Item", {"ok?": name, "error?": dict[str, Any]})
        return self[name]

    def read(self, text: str) -> Any:
        """The type that an annotation names."""
        return eval(text, {}, self)

    def _record(self, name: str) -> Any:
        fields = self._records[name]
        return _struct(name, {field: self.read(kind) for field, kind in fields.items()})


def _struct(name: str, fields: dict[str, Any]) -> Any:
    """A record type that remembers which of its optional fields were there."""
    return msgspec.defstruct(
        name,
        [
            (bare(field), kind | UnsetType, UNSET) if is_optional(field) else (field, kind)
            for field, kind in fields.items()
        ],
        kw_only=True,
    )


class Pinned:
    """The table."""

    def __init__(self) -> None:
        self.table: dict[str, Any] = json.loads(FILE.read_text())
        self.methods: dict[str, dict[str, dict[str, str]]] = self.table["methods"]
        self._names = Names(self.table)

    def cut(self, value: Any, kind: str) -> Any:
        """A JSON value as the old release understands it."""
        return msgspec.to_builtins(msgspec.convert(value, self._names.read(kind)))

    def arguments(self, topic: str, method: str, args: dict[str, Any]) -> dict[str, Any]:
        """A method's arguments as the old release understands them."""
        known = {bare(name): kind for name, kind in self.methods[topic][method].items()}
        needed = {name for name in self.methods[topic][method] if not is_optional(name)}
        if missing := needed - {*args, ANSWER}:
            raise TypeError(f"{method}() misses {missing}")
        return {name: self.cut(value, known[name]) for name, value in args.items()}

    def answer(self, topic: str, method: str, answer: Any) -> Any:
        """A method's answer as the old release understands it."""
        return self.cut(answer, self.methods[topic][method][ANSWER])


class OldCaller:
    """The sending side of an old process.

    :param caller: reaches the new peer, with version 1.0 only
    :param topic: ``conductor-api``, ``conductor-agent`` or ``agent``
    """

    def __init__(self, caller: Caller, topic: str) -> None:
        self._caller = caller
        self._topic = topic
        self._pinned = Pinned()

    def call(self, ctxt: RequestContext, method: str, **kwargs: Any) -> Any:
        """See ``paddock.rpc``."""
        args = self._pinned.arguments(self._topic, method, kwargs)
        answer = self._caller.call(ctxt, method, **args)
        return self._pinned.answer(self._topic, method, answer)

    def cast(self, ctxt: RequestContext, method: str, **kwargs: Any) -> None:
        """See ``paddock.rpc``."""
        self._caller.cast(ctxt, method, **self._pinned.arguments(self._topic, method, kwargs))


class OldServer(rpc.Server):
    """The serving side of an old process.

    :param topic: as above
    :param endpoints: have the methods of today
    """

    def __init__(
        self, transport: rpc.Transport, target: rpc.Target, topic: str, *endpoints: object
    ) -> None:
        old = [_old_endpoint(topic, endpoint) for endpoint in endpoints]
        super().__init__(transport, target, old, 4, FIRST)


def _old_endpoint(topic: str, endpoint: object) -> object:
    pinned = Pinned()
    served = [name for name in pinned.methods[topic] if hasattr(endpoint, name)]
    methods = {name: partial(_serve, pinned, topic, endpoint, name) for name in served}
    return SimpleNamespace(**{name: rpc.expose(method) for name, method in methods.items()})


def _serve(
    pinned: Pinned, topic: str, endpoint: object, method: str, ctxt: Any, /, **kwargs: Any
) -> Any:
    answer = getattr(endpoint, method)(ctxt, **pinned.arguments(topic, method, kwargs))
    return pinned.answer(topic, method, answer)
