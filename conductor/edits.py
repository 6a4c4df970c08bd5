"""Changing what an instance is called and described by; no action, no lock, no host."""

from __future__ import annotations

from typing import Any

from conductor.callers import check_current, find_instance, target_of
from conductor.db.models import Instance
from conductor.policy import Policy
from conductor.turn import Turn
from conductor.views import get_instance
from paddock.context import RequestContext
from paddock.errors import BadRequest
from paddock.records import InstanceRecord

UPDATE = "os_compute_api:servers:update"
FIELDS = ("name", "description", "metadata")


def update(
    turn: Turn,
    policy: Policy,
    ctxt: RequestContext,
    instance_id: str,
    changes: dict[str, Any],
) -> InstanceRecord:
    """Change ``name``, ``description`` or ``metadata`` (whole).

    :raises BadRequest: another field is named
    """
    wrong = sorted(set(changes) - set(FIELDS))
    if wrong:
        raise BadRequest(f"{wrong[0]}: it cannot be changed; these can: {', '.join(FIELDS)}.")
    instance = find_instance(turn, policy, ctxt, instance_id)
    check_current(turn, ctxt)
    policy.check(ctxt, UPDATE, target_of(instance))
    values = {name: value for name, value in changes.items() if name != "metadata"}
    if "metadata" in changes:
        values["details"] = instance.details | {"metadata": changes["metadata"]}
    turn.change(Instance, Instance.id == instance_id, updated_at=turn.now, **values)
    return get_instance(turn, policy, ctxt, instance_id)
