"""From the query of a list of servers to the conductor's listing."""

from __future__ import annotations

import re
from typing import Any

from api.call import Call, Document
from api.listing import sorting
from api.schemas.common import is_set, is_true
from api.times import read_time
from paddock.actions import VmState, states_of
from paddock.errors import BadRequest, Forbidden
from paddock.records import Listing

NAMES = {
    "availability_zone": "zone",
    "display_name": "name",
    "display_description": "description",
    "flavor": "flavor_id",
    "image": "image_id",
    "image_ref": "image_id",
    "instance_type_id": "flavor_id",
    "node": "host",
    "tenant_id": "project_id",
    "uuid": "id",
}
KEPT = ("name", "description", "host", "zone", "flavor_id", "image_id", "project_id", "user_id",
        "reservation_id", "task_state", "ip", "ip6", "id")  # fmt: skip
DEFAULT_SORT = [("created_at", "desc"), ("id", "desc")]
STRICT_STATUS = (2, 38)


def listing_of(call: Call) -> Listing:
    """What the conductor is asked for.

    :raises BadRequest: a value has the wrong form
    """
    query = call.query
    filters: dict[str, Any] = {}
    for name, value in query.items():
        kept = NAMES.get(name, name)
        if kept in KEPT and value != "":
            filters[kept] = value
    filters |= _flags(query) | _states(call) | _times(query)
    for name in ("name", "ip", "ip6"):
        _check_pattern(name, filters.get(name))
    return Listing(
        filters=filters,
        sort=sorting(query, NAMES, DEFAULT_SORT),
        marker=query.get("marker"),
    )


def _flags(query: Document) -> Document:
    found: Document = {}
    if is_set(query, "all_tenants"):
        found["all_tenants"] = True
    if is_set(query, "deleted"):
        found["deleted"] = True
    if "locked" in query:
        found["locked"] = is_true(query["locked"])
    return found


def _states(call: Call) -> Document:
    query = call.query
    found: Document = {}
    if states := [_vm_states(call, status) for status in query.get("status", []) if status]:
        found["vm_state"] = sorted(frozenset[str]().union(*states))
    if query.get("vm_state"):
        found["vm_state"] = [query["vm_state"]]
    if query.get("power_state"):
        found["power_state"] = _number(query["power_state"])
    return found


def _vm_states(call: Call, status: str) -> frozenset[str]:
    states = frozenset(str(state) for state in states_of(status))
    if VmState.DELETED in states and not call.is_admin:
        raise Forbidden("Only administrators may list deleted servers.")
    if not states and call.version >= STRICT_STATUS:
        raise BadRequest(f"status must be a server's status, not {status[:40]!a}.")
    return states


def _number(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", value):
        raise BadRequest("power_state must be a number.")
    return int(value)


def _times(query: Document) -> Document:
    found = {}
    for name in ("changes-since", "changes-before"):
        if query.get(name):
            try:
                found[name.replace("-", "_")] = read_time(query[name]).isoformat()
            except ValueError:
                raise BadRequest(f"{name} must be a time as in 2026-01-31T12:00:00Z.") from None
    return found


def _check_pattern(name: str, value: str | None) -> None:
    try:
        re.compile(value or "")
    except re.error:
        raise BadRequest(f"{name} must be a regular expression.") from None
