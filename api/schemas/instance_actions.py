"""What a list of an instance's actions may be asked for."""

from __future__ import annotations

from api.schemas.common import LIMIT, MARKER, TIME, Query, record

LIST = Query(
    "instance-actions?",
    record({"limit": LIMIT, "marker": MARKER, "changes-since": TIME, "changes-before": TIME}),
)
