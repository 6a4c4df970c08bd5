"""Aggregates and hypervisors."""

from __future__ import annotations

from api.schemas.common import (
    FLAG,
    HOST,
    LIMIT,
    MARKER,
    NAME,
    WORD,
    ZONE,
    Body,
    Query,
    Schema,
    named_map,
    nullable,
    record,
)

CONDUCTORS_ZONE = "internal"

_ZONE = nullable(
    ZONE
    | {
        "not": {"anyOf": [{"const": CONDUCTORS_ZONE}, {"type": "string", "pattern": ":"}]},
        "description": "the name of an availability zone, 1 to 255 characters without a colon "
        f"and not {CONDUCTORS_ZONE}",
    }
)
_METADATA: Schema = named_map() | {
    "properties": {"availability_zone": _ZONE},
    "additionalProperties": {
        "type": ["string", "null"],
        "maxLength": 255,
        "description": "a string of at most 255 characters, or null",
    },
}

CREATE = Body(
    "aggregate-create", "aggregate", record({"name": NAME, "availability_zone": _ZONE}, ("name",))
)
UPDATE = Body(
    "aggregate-update",
    "aggregate",
    record(
        {"name": NAME, "availability_zone": _ZONE},
        minProperties=1,
        description="an object with name or availability_zone",
    ),
)
ACTIONS = {
    "add_host": Body("aggregate-add-host", "add_host", record({"host": HOST}, ("host",))),
    "remove_host": Body("aggregate-remove-host", "remove_host", record({"host": HOST}, ("host",))),
    "set_metadata": Body(
        "aggregate-set-metadata", "set_metadata", record({"metadata": _METADATA}, ("metadata",))
    ),
}
HYPERVISOR = Query("hypervisor?", record({"with_servers": FLAG}))
HYPERVISORS = Query(
    "hypervisors?",
    record(
        {
            "limit": LIMIT,
            "marker": MARKER,
            "hypervisor_hostname_pattern": WORD,
            "with_servers": FLAG,
        }
    ),
)
