"""Flavors."""

from __future__ import annotations

from api.schemas.common import (
    END,
    FLAG,
    LIMIT,
    MARKER,
    NAME,
    Body,
    Query,
    Schema,
    integer,
    nullable,
    one_of,
    record,
    text,
)

_ID: Schema = {
    "type": ["string", "integer", "null"],
    "minLength": 1,
    "maxLength": 255,
    "minimum": 0,
    "maximum": 2**31 - 1,
    "pattern": rf"^(?!\s)[a-zA-Z0-9. _\-]*[a-zA-Z0-9._\-]{END}",
    "description": "1 to 255 letters, digits, dots, dashes, underscores or inner spaces",
}
_FACTOR: Schema = {
    "type": ["number", "string"],
    "exclusiveMinimum": 0,
    "maximum": 1e6,
    "pattern": rf"^[0-9]{{1,6}}(\.[0-9]{{1,6}})?{END}",
    "description": "a number above 0",
}
_BOOLEAN: Schema = {
    "enum": [True, False, "True", "False", "true", "false"],
    "description": "true or false",
}
_PUBLIC: Schema = FLAG | {
    "pattern": rf"^(?i:true|false|1|0|t|f|yes|no|y|n|on|off|none|){END}",
    "description": "True, False or None",
}

CREATE = Body(
    "flavor-create",
    "flavor",
    record(
        {
            "name": NAME,
            "id": _ID,
            "vcpus": integer(1),
            "ram": integer(1),
            "disk": integer(0),
            "OS-FLV-EXT-DATA:ephemeral": integer(0),
            "swap": integer(0),
            "rxtx_factor": _FACTOR,
            "os-flavor-access:is_public": _BOOLEAN,
            "description": nullable(text(65535)),
        },
        ("name", "vcpus", "ram", "disk"),
    ),
)
UPDATE = Body(
    "flavor-update",
    "flavor",
    record({"description": nullable(text(65535))}, ("description",)),
)
EXTRA_SPECS = Body(
    "flavor-extra-specs",
    "extra_specs",
    {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 128,
        "propertyNames": {
            "pattern": rf"^[a-zA-Z0-9\-_:. ]{{1,255}}{END}",
            "description": "a name of 1 to 255 letters, digits, spaces or any of -_:.",
        },
        "additionalProperties": {
            "type": ["string", "number"],
            "maxLength": 255,
            "description": "a string of at most 255 characters",
        },
        "description": "an object of names and values",
    },
)
LIST = Query(
    "flavors?",
    record(
        {
            "limit": LIMIT,
            "marker": MARKER,
            "is_public": _PUBLIC,
            "minRam": LIMIT,
            "minDisk": LIMIT,
            "sort_key": {
                "type": "array",
                "items": one_of("flavorid", "name", "memory_mb", "vcpus", "root_gb",
                                "ephemeral_gb", "swap", "created_at", "updated_at", "id",
                                "disabled", "is_public", "rxtx_factor", "vcpu_weight",
                                "description") | {"description": "the name of a flavor's field"},
                "description": "names of fields",
            },
            "sort_dir": {
                "type": "array",
                "items": one_of("asc", "desc"),
                "description": "asc or desc",
            },
        }
    ),
)  # fmt: skip
