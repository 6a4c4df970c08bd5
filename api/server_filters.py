"""From the query of a list of servers to the conductor's listing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from api import server_fields as fields
from api.call import Call, Document
from api.listing import sorting
from api.schemas.common import is_set, is_true
from api.times import interval, moment
from paddock.actions import VmState, states_of
from paddock.errors import BadRequest, Forbidden
from paddock.records import InstanceRecord, Listing

HIDDEN = ("host",)
"""What only administrators see; as in Nova, others' filters by it change nothing."""
NOBODY: Document = {"id": []}
DEFAULT_SORT = [("created_at", "desc"), ("id", "desc")]
STRICT_STATUS = (2, 38)


def listing_of(call: Call) -> Listing:
    """What the conductor is asked for.

    :raises BadRequest: a value has the wrong form
    :raises Forbidden: only administrators may ask so
    """
    query = call.query
    filters: dict[str, Any] = {}
    for name, value in query.items():
        kept = fields.NARROWING.get(name)
        if kept and value not in ("", [], [""]) and (call.is_admin or kept not in HIDDEN):
            filters[kept] = _read(call, name, value)
    filters |= _flags(call) | interval(query)
    if VmState.DELETED in _vm_states(filters.get("status", [])):
        filters["deleted"] = None
    if _no_server_has(query):
        filters |= NOBODY
    return Listing(filters=filters, sort=_sort(call), marker=query.get("marker"))


def shown_filter(query: Document) -> Callable[[InstanceRecord], bool] | None:
    """What the conductor cannot narrow a list by; None when nothing of it is asked for."""
    wanted = {name: query[name] for name in fields.SHOWN if query.get(name)}
    for name in set(wanted).intersection(fields.NUMBERS):
        wanted[name] = str(_number(name, wanted[name]))
    if not wanted:
        return None
    return lambda record: all(fields.SHOWN[name](record) == wanted[name] for name in wanted)


def _sort(call: Call) -> list[tuple[str, str]]:
    pairs = sorting(call.query, fields.SORTING, DEFAULT_SORT)
    if not call.is_admin and any(field in HIDDEN for field, _way in pairs):
        raise Forbidden("Only administrators may sort servers by their hosts.")
    kept = [(field, way) for field, way in pairs if field not in fields.UNSORTED]
    return kept or DEFAULT_SORT


def _flags(call: Call) -> Document:
    query = call.query
    found: Document = {}
    others = query.get("project_id") or query.get("tenant_id")
    if is_set(query, "all_tenants") or (call.is_admin and others and "all_tenants" not in query):
        found["all_tenants"] = True
    if is_set(query, "deleted") and call.is_admin:
        found["deleted"] = True
    elif "changes-since" in query:
        found["deleted"] = None  # what vanished has changed, too
    if "locked" in query:
        found["locked"] = is_true(query["locked"])
    return found


def _no_server_has(query: Document) -> bool:
    """Whether a filter names what no server of this cloud has."""
    if any(query.get(name) for name in fields.WITH_TAGS):
        return True
    return any(
        (is_true(query[name]) if isinstance(common, bool) else query[name]) != common
        for name, common in fields.COMMON.items()
        if query.get(name)
    )


def _read(call: Call, name: str, value: Any) -> Any:
    """A filter's value as the conductor takes it."""
    if name == "status":
        return [status for status in value if status and _check_status(call, status)]
    if name in fields.TIMES:
        return moment(name, value)
    return _number(name, value) if name in fields.NUMBERS else value


def _check_status(call: Call, status: str) -> bool:
    states = _vm_states([status])
    if VmState.DELETED in states and not call.is_admin:
        raise Forbidden("Only administrators may list deleted servers.")
    if not states and call.version >= STRICT_STATUS:
        raise BadRequest(f"status must be a server's status, not {status[:40]!a}.")
    return True


def _vm_states(statuses: list[str]) -> set[VmState]:
    return {state for status in statuses for state, _task in states_of(status)}


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", value):
        raise BadRequest(f"{name} must be a number.")
    return int(value)
