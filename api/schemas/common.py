"""Schemas that several resources use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]

JSON = "application/json"
XML = "application/xml"

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
LARGEST = 2**31 - 1
END = r"$(?!\n)"  # Python's $ also matches before a last line feed


@dataclass(frozen=True)
class Body:
    """A request's body: one object under one key.

    :ivar name: as the table of microversions knows it
    :ivar key: the only key of the outer object; empty when the object is the body itself
    :ivar schema: the object's
    :ivar beside: other properties of the outer object
    :ivar media: content types that are read
    :ivar secret: what it holds is not repeated in errors
    """

    name: str
    key: str
    schema: Schema
    beside: dict[str, Schema] = field(default_factory=dict)
    media: tuple[str, ...] = (JSON,)
    secret: bool = False


@dataclass(frozen=True)
class Query:
    """A request's query: an object of strings, and of arrays for what may repeat."""

    name: str
    schema: Schema


def record(properties: dict[str, Schema], required: tuple[str, ...] = (), **more: Any) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "description": "an object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    } | more


def text(longest: int, shortest: int = 0) -> Schema:
    """A string of so many characters."""
    return {
        "type": "string",
        "minLength": shortest,
        "maxLength": longest,
        "description": f"a string of {shortest} to {longest} characters",
    }


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema | {"type": [*kinds, "null"], "description": f"{schema['description']}, or null"}


def integer(least: int = 0, most: int = LARGEST) -> Schema:
    """A whole number, or the same in digits, as the compute API takes both."""
    return {
        "type": ["integer", "string"],
        "minimum": least,
        "maximum": most,
        "pattern": rf"^-?[0-9]{{1,10}}{END}",
        "description": f"a whole number from {least} to {most}",
    }


def one_of(*values: Any) -> Schema:
    """One of these values."""
    return {"enum": list(values), "description": " or ".join(str(value) for value in values)}


def named_map(longest_key: int = 255, longest_value: int = 255, most: int = 128) -> Schema:
    """Names and string values."""
    names = f"1 to {longest_key} letters, digits, spaces or any of -_:."
    return {
        "type": "object",
        "maxProperties": most,
        "propertyNames": {
            "pattern": rf"^[a-zA-Z0-9\-_:. ]{{1,{longest_key}}}{END}",
            "description": f"a name of {names}",
        },
        "additionalProperties": text(longest_value),
        "description": f"an object of at most {most} string values under names of {names}",
    }


INVISIBLE = (  # controls, and what only directs other characters
    r"\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
)

NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": rf"^(?!\s)[^{INVISIBLE}]*[^\s{INVISIBLE}]{END}",
    "description": "a name of 1 to 255 printable characters without spaces at its ends",
}
DESCRIPTION = nullable(text(255))
REASON = text(255, 1)
UUID_VALUE: Schema = {
    "type": "string",
    "pattern": rf"^{UUID}{END}",
    "description": "a UUID in lower case with dashes",
}
HOST: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": rf"^[a-zA-Z0-9._\-]+{END}",
    "description": "a host name of letters, digits, dots, dashes and underscores",
}
ZONE: Schema = NAME | {"description": "the name of an availability zone, 1 to 255 characters"}
NOTHING: Schema = {"enum": [None, {}, ""], "description": "null or an empty object"}
BOOLEAN: Schema = {"type": "boolean", "description": "true or false"}
LIMIT: Schema = {
    "type": "string",
    "pattern": rf"^[0-9]{{1,9}}{END}",
    "description": "a whole number, 0 or more",
}
MARKER = text(255, 1)
TIME: Schema = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    rf"(Z|[+\-][0-9]{{2}}:?[0-9]{{2}})?)?{END}",
    "description": "a time as in 2026-01-31T12:00:00Z",
}
FLAG: Schema = {
    "type": "string",
    "pattern": rf"^(?i:true|false|1|0|t|f|yes|no|y|n|on|off|){END}",
    "description": "True or False",
}
WORD = text(255)


def is_true(value: str | bool | None) -> bool:
    """Whether a flag that :data:`FLAG` admitted is set."""
    return str(value).lower() in ("true", "1", "t", "yes", "y", "on")


def is_set(query: dict[str, Any], name: str) -> bool:
    """Whether the query has the flag at all, an empty value counting as set."""
    return name in query and (query[name] == "" or is_true(query[name]))
