"""Drains: Paddock's own ``/drains`` and the compute API's maintenance of a host."""

from __future__ import annotations

from typing import Any

from api.schemas.common import (
    BOOLEAN,
    END,
    HOST,
    LIMIT,
    MARKER,
    NOTHING,
    REASON,
    TIME,
    UUID_VALUE,
    WORD,
    ZONE,
    Body,
    Query,
    Schema,
    nullable,
    one_of,
    record,
)

MOST_PARALLEL = 100
MOST_EXCLUDED = 1000
STATUSES = ("planned", "running", "paused", "cancelling", "completed", "cancelled", "failed",
            "restoring", "restored")  # fmt: skip
STRATEGIES = ("auto", "live", "cold", "leave")
DEFAULTS: dict[str, Any] = {
    "reason": None,
    "dry_run": False,
    "strategy": "auto",
    "max_parallel": 2,
    "target_zone": None,
    "exclude": [],
    "deadline": None,
}
"""What a drain that names nothing but its host is."""

_EXCLUDE: Schema = {
    "type": "array",
    "items": UUID_VALUE,
    "maxItems": MOST_EXCLUDED,
    "description": f"a list of at most {MOST_EXCLUDED} UUIDs of servers",
}
_PARALLEL: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": MOST_PARALLEL,
    "description": f"a whole number from 1 to {MOST_PARALLEL}",
}
CREATE = Body(
    "drain-create",
    "",
    record(
        {
            "host": HOST,
            "reason": nullable(REASON),
            "dry_run": BOOLEAN,
            "strategy": one_of(*STRATEGIES),
            "max_parallel": _PARALLEL,
            "target_zone": nullable(ZONE),
            "exclude": _EXCLUDE,
            "deadline": nullable(TIME),
        },
        ("host",),
    ),
)
ACTIONS = {
    "cancel": Body(
        "drain-cancel",
        "cancel",
        record(
            {"reopen": BOOLEAN},
            type=["object", "null"],
            description="null or an object with reopen",
        ),
    ),
    **{
        verb: Body(f"drain-{verb}", verb, NOTHING)
        for verb in ("pause", "resume", "restore", "retry")
    },
}
"""What may be asked of a drain."""

LIST = Query(
    "drains?",
    record({"host": WORD, "status": one_of(*STATUSES), "limit": LIMIT, "marker": MARKER}),
)
_ESTIMATE: Schema = {
    "type": ["number", "null"],
    "minimum": 0,
    "description": "seconds that it is likely to take still; null for what is done or is to stay",
}
_PLAN: Schema = {
    "type": "array",
    "items": {"type": "object", "properties": {"estimate": _ESTIMATE}},
    "description": "for each machine id, name, how, target, reason and estimate",
}
DRY_RUN = record(
    {
        "drain": {
            "type": "object",
            "properties": {"estimate": _ESTIMATE, "plan": _PLAN},
            "description": "a drain whose id is null",
        }
    },
    ("drain",),
    description="the plan, for dry_run; nothing is kept of it",
)

MAINTENANCE = Body(
    "os-host-update",
    "",
    record(
        {
            "maintenance_mode": {
                "type": "string",
                "pattern": rf"^(?i:enable|disable){END}",
                "description": "enable or disable",
            },
            "status": {
                "enum": [],
                "description": "left out: PUT /os-services enables and disables hosts",
            },
        },
        minProperties=1,
        description="an object with maintenance_mode",
    ),
)
