"""From the query of a list of servers to the conductor's listing."""

from __future__ import annotations

import re
from typing import Any

from api.call import Call, Document
from api.listing import sorting
from api.schemas.common import is_set, is_true
from api.times import interval
from paddock.actions import VmState, states_of
from paddock.errors import BadRequest, Forbidden
from paddock.records import Listing

NAMES = {
    "availability_zone": "zone",
    "display_name": "name",
    "display_description": "description",
    "image": "image_id",
    "image_ref": "image_id",
    "instance_type_id": "flavor",
    "ip6": "ip",
    "node": "host",
    "tenant_id": "project_id",
    "uuid": "id",
}
KEPT = ("name", "description", "host", "zone", "flavor", "image_id", "project_id", "user_id",
        "reservation_id", "task_state", "ip", "id")  # fmt: skip
HIDDEN = ("host",)
"""What only administrators see; as in Nova, others' filters by it change nothing."""
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
        kept = NAMES.get(name, name)
        if kept in KEPT and value != "" and (call.is_admin or kept not in HIDDEN):
            filters[kept] = value
    filters |= _flags(call) | _states(call) | interval(query)
    sort = sorting(query, NAMES, DEFAULT_SORT)
    if not call.is_admin and any(field in HIDDEN for field, _way in sort):
        raise Forbidden("Only administrators may sort servers by their hosts.")
    return Listing(
        filters=filters,
        sort=sort,
        marker=query.get("marker"),
    )


def _flags(call: Call) -> Document:
    query = call.query
    found: Document = {}
    if is_set(query, "all_tenants"):
        found["all_tenants"] = True
    if is_set(query, "deleted") and call.is_admin:
        found["deleted"] = True
    elif "changes-since" in query:
        found["deleted"] = None  # what vanished has changed, too
    if "locked" in query:
        found["locked"] = is_true(query["locked"])
    return found


def _states(call: Call) -> Document:
    query = call.query
    found: Document = {}
    if states := [_vm_states(call, status) for status in query.get("status", []) if status]:
        found["vm_state"] = sorted(frozenset[str]().union(*states))
        if VmState.DELETED in found["vm_state"]:
            found["deleted"] = None
    if query.get("vm_state"):
        found["vm_state"] = [query["vm_state"]]
    if query.get("power_state"):
        found["power_state"] = _number(query["power_state"])
    if query.get("tags") or query.get("tags-any"):
        found["vm_state"] = []  # no server has tags
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
