"""Microversions: reading the one asked for, and shaping documents and schemas by the table.

Handlers make the newest shape of a document. :func:`shape` takes away what a version does not
know yet or any more, as ``differences.py`` says; :func:`narrow` does the same to a schema.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from paddock.errors import BadRequest, NotAcceptable, NotFound

Version = tuple[int, int]

MINIMUM: Version = (2, 1)
MAXIMUM: Version = (2, 96)
_SINGLE = re.compile(r"[1-9][0-9]{0,3}\.(0|[1-9][0-9]{0,3})")


@dataclass(frozen=True)
class Added:
    """Fields that a document or a request has from this version on."""

    version: Version
    resource: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Removed:
    """Fields that a document or a request has up to the version before this one."""

    version: Version
    resource: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Changed:
    """``older`` turns this version's document, in place, into that of the version before."""

    version: Version
    resource: str
    older: Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Strict:
    """A query that refuses unknown parameters from this version on, and ignored them before."""

    version: Version
    resource: str


@dataclass(frozen=True)
class Served:
    """An operation that exists from one version and before another only."""

    operation: str
    since: Version = MINIMUM
    before: Version = (MAXIMUM[0], MAXIMUM[1] + 1)


Row = Added | Removed | Changed | Strict | Served


def show(version: Version) -> str:
    """``2.96``."""
    return f"{version[0]}.{version[1]}"


def read_version(new: str | None, old: str | None) -> Version:
    """The microversion that a request's headers name; the minimum when they name none.

    :param new: ``OpenStack-API-Version``: a list of service and version
    :param old: ``X-OpenStack-Nova-API-Version``: a version
    :raises BadRequest: a header is malformed or contradicts itself
    :raises NotAcceptable: the version is not served
    """
    named = _for_compute(new) if new else []
    if not named and old:
        named = [part.strip() for part in old.split(",")]
    if len(set(named)) > 1:
        raise BadRequest("OpenStack-API-Version names more than one version; send one.")
    return _parse(named[0]) if named else MINIMUM


def _for_compute(header: str) -> list[str]:
    pairs = [part.split() for part in header.split(",")]
    if not all(len(pair) == 2 for pair in pairs):
        raise BadRequest("OpenStack-API-Version must be a service and a version: compute 2.96.")
    return [version for service, version in pairs if service.lower() in ("compute", "nova")]


def _parse(text: str) -> Version:
    if text.lower() == "latest":
        return MAXIMUM
    if not _SINGLE.fullmatch(text):
        raise BadRequest("The microversion must be two numbers, such as 2.96, or latest.")
    major, minor = text.split(".")
    version = (int(major), int(minor))
    if not MINIMUM <= version <= MAXIMUM:
        raise NotAcceptable(
            f"Version {text} is not supported by the API. "
            f"Minimum is {show(MINIMUM)} and maximum is {show(MAXIMUM)}."
        )
    return version


class Differences:
    """The table, sorted by what it is about.

    :param rows: every difference between two versions
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[str, list[Added | Removed | Changed]] = {}
        self._strict: dict[str, Version] = {}
        self._served: dict[str, Served] = {}
        for row in rows:
            if isinstance(row, Served):
                self._served[row.operation] = row
            elif isinstance(row, Strict):
                self._strict[row.resource] = row.version
            else:
                self._rows.setdefault(row.resource, []).append(row)
        for found in self._rows.values():
            found.sort(key=lambda row: row.version, reverse=True)
        self._hidden = functools.cache(self._find_hidden)
        self._taken = functools.cache(self._find_taken)

    def shape(self, resource: str, document: dict[str, Any], version: Version) -> dict[str, Any]:
        """The document as that version has it; it is changed in place and returned."""
        for row in self._taken(resource, version):
            if isinstance(row, Changed):
                row.older(document)
            else:
                for name in row.fields:
                    document.pop(name, None)
        return document

    def narrow(self, resource: str, schema: dict[str, Any], version: Version) -> dict[str, Any]:
        """An object's schema with the properties that the version admits."""
        hidden = self._hidden(resource, version)
        narrowed = dict(schema)
        if version < self._strict.get(resource, MINIMUM):
            narrowed["additionalProperties"] = True
        properties = schema.get("properties", {})
        narrowed["properties"] = {k: v for k, v in properties.items() if k not in hidden}
        return narrowed

    def serves(self, operation: str, version: Version) -> bool:
        """Whether that version has the operation."""
        row = self._served.get(operation)
        return row is None or row.since <= version < row.before

    def check_served(self, operation: str, version: Version) -> None:
        """Raise NotFound when that version has no such operation."""
        if not self.serves(operation, version):
            raise NotFound(f"Version {show(version)} of the API has no such resource.")

    def _find_taken(self, resource: str, version: Version) -> list[Added | Removed | Changed]:
        """What takes something from the newest document to have that version's."""
        rows = self._rows.get(resource, ())
        return [row for row in rows if (version >= row.version) is isinstance(row, Removed)]

    def _find_hidden(self, resource: str, version: Version) -> frozenset[str]:
        taken = self._taken(resource, version)
        return frozenset(
            name for row in taken if not isinstance(row, Changed) for name in row.fields
        )
