"""Services: Paddock's own ``/services`` and the compute API's ``/os-services``."""

from __future__ import annotations

from api.schemas.common import (
    BOOLEAN,
    HOST,
    NOTHING,
    REASON,
    WORD,
    Body,
    Query,
    nullable,
    one_of,
    record,
)

TRIGGERS = {
    "PAUSE": Body(
        "service-pause",
        "PAUSE",
        record(
            {"reason": nullable(REASON)},
            type=["object", "null"],
            description="null or an object with reason",
        ),
    ),
    "RESUME": Body("service-resume", "RESUME", NOTHING),
    "START": Body("service-start", "START", NOTHING),
    "STOP": Body("service-stop", "STOP", NOTHING),
}
"""What may be asked of a service, in any case."""

SERVICES = Query("services?", record({"zone": WORD, "host": WORD}))
OS_SERVICES = Query("os-services?", record({"host": WORD, "binary": WORD}))

UPDATE = Body(
    "os-service-update",
    "",
    record(
        {
            "status": one_of("enabled", "disabled"),
            "disabled_reason": REASON,
            "forced_down": BOOLEAN,
        },
        minProperties=1,
        description="an object with status, disabled_reason or forced_down",
    ),
)
_WHICH = {"host": HOST, "binary": REASON}
ENABLE = Body("os-service-enable", "", record(_WHICH, ("host", "binary")))
DISABLE = Body("os-service-disable", "", record(_WHICH, ("host", "binary")))
DISABLE_REASON = Body(
    "os-service-disable-log-reason",
    "",
    record(_WHICH | {"disabled_reason": REASON}, ("host", "binary", "disabled_reason")),
)
FORCE_DOWN = Body(
    "os-service-force-down",
    "",
    record(_WHICH | {"forced_down": BOOLEAN}, ("host", "binary")),
)
