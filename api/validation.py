"""Checking documents against schemas, with one sentence that names the field."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from api.microversions import Differences, Version
from api.schemas.common import Body, Query, Schema
from paddock.errors import BadRequest

SHOWN = 60
DEEPEST = 32
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def full_schema(body: Body, differences: Differences, version: Version) -> Schema:
    """The schema of a whole body at one version."""
    schema = body.schema
    if "properties" in schema:
        schema = differences.narrow(body.name, schema, version)
    if not body.key:
        return schema
    return {
        "type": "object",
        "description": f"an object with {body.key}",
        "properties": {body.key: schema, **body.beside},
        "required": [body.key],
        "additionalProperties": False,
    }


class Validation:
    """Checks bodies and queries; validators are made once per schema and version.

    :param differences: says which fields a version admits
    """

    def __init__(self, differences: Differences) -> None:
        self._differences = differences
        self._validators: dict[tuple[str, Version], Draft202012Validator] = {}
        self._make = functools.partial(Draft202012Validator)

    def check_body(self, body: Body, document: Any, version: Version) -> None:
        """Raise BadRequest unless the document is what the version admits."""
        validator = self._validators.get((body.name, version))
        if validator is None:
            validator = self._make(full_schema(body, self._differences, version))
            self._validators[body.name, version] = validator
        check(validator, document, "The body", quiet=body.secret)

    def check_query(self, query: Query, values: dict[str, Any], version: Version) -> None:
        """Raise BadRequest unless the values are what the version admits."""
        validator = self._validators.get((query.name, version))
        if validator is None:
            schema = self._differences.narrow(query.name, query.schema, version)
            validator = self._make(schema)
            self._validators[query.name, version] = validator
        check(validator, values, "The query")


def check(validator: Draft202012Validator, document: Any, whole: str, quiet: bool = False) -> None:
    """Raise BadRequest with a sentence about the most telling error, if there is one.

    :param quiet: repeat nothing of the document
    """
    refuse_controls(document)
    error = best_match(validator.iter_errors(document))
    if error is not None:
        raise BadRequest(sentence(error, whole, quiet))


def sentence(error: ValidationError, whole: str, quiet: bool = False) -> str:
    """What is wrong and what would be right."""
    path = field_name(error.absolute_path)
    where = path or whole
    held: Any = error.instance
    if error.validator == "required":
        required: Any = error.validator_value
        missing = next(name for name in required if name not in held)
        return f"{_join(path, missing)} is missing."
    if error.validator == "additionalProperties":
        return _unknown(error, path or whole, quiet)
    if "propertyNames" in error.absolute_schema_path:
        return f"{where} has the name {_shown(error.instance)}; it must be {_wanted(error)}."
    return f"{where} must be {_wanted(error)}{'' if quiet else _instead(error)}."


def field_name(path: Iterable[str | int]) -> str:
    """``server.networks[0].uuid``."""
    name = ""
    for part in path:
        name = f"{name}[{part}]" if isinstance(part, int) else _join(name, part)
    return name


def refuse_controls(document: Any) -> None:
    """Raise BadRequest when any string holds a control character or the nesting is too deep."""
    for path, value in walk(document, (), DEEPEST):
        if any(character < " " and character not in "\t\n\r" for character in value):
            raise BadRequest(f"{_named(path)} must not hold control characters.")


def refuse_halves(document: Any) -> None:
    """Raise BadRequest when any string holds half of a surrogate pair, which is no character."""
    for path, value in walk(document, (), DEEPEST):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadRequest(f"{_named(path)} must not hold half of a surrogate pair.")


def _named(path: Iterable[str | int]) -> str:
    """A field in a sentence about its characters, which may be those that cannot be shown."""
    return _short(ascii(field_name(path))[1:-1])


def walk(
    value: Any, path: tuple[str | int, ...], deepest: int
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string of a document, names included, with where it is."""
    if deepest < 0:
        raise BadRequest(f"The body must not be nested deeper than {DEEPEST} levels.")
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield (*path, name), name
            yield from walk(item, (*path, name), deepest - 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, (*path, index), deepest - 1)


def _unknown(error: ValidationError, where: str, quiet: bool) -> str:
    schema: Any = error.schema
    known = schema.get("properties", {})
    held: Any = error.instance
    unknown = next(name for name in held if name not in known)
    hint = f"; it may have {', '.join(sorted(known))}" if 0 < len(known) <= 8 else ""
    named = "an unknown field" if quiet else f"the unknown field {_shown(unknown)}"
    return f"{where} has {named}{hint}."


def _wanted(error: ValidationError) -> str:
    schema: Any = error.schema
    return str(schema.get("description", "something else"))


def _instead(error: ValidationError) -> str:
    """What came, where that tells more than what would be right does."""
    reasoned = ": " in _wanted(error)
    inner = isinstance(error.instance, dict | list) and error.validator != "type"
    secret = isinstance(error.schema, dict) and error.schema.get("writeOnly")
    return "" if reasoned or inner or secret else f", not {_shown(error.instance)}"


def _join(path: str, name: str) -> str:
    return _short(f"{path}.{name}" if path else str(name))


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return _short(ascii(value))


def _short(text: str) -> str:
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
