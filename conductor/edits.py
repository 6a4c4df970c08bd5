"""Changing what an instance is called and described by; no action, no lock, no host."""

from __future__ import annotations

from typing import Any

from conductor.callers import check_current, find_instance, target_of
from conductor.db.models import Instance
from conductor.policy import Policy
from conductor.turn import Moved, Turn
from conductor.views import get_instance
from paddock.context import RequestContext
from paddock.errors import BadRequest, NotFound
from paddock.records import InstanceRecord

UPDATE = "os_compute_api:servers:update"
PLAIN = ("name", "description")
METADATA = ("metadata", "set_metadata", "unset_metadata")
MOST_METADATA = 128


def update(
    turn: Turn,
    policy: Policy,
    ctxt: RequestContext,
    instance_id: str,
    changes: dict[str, Any],
) -> InstanceRecord:
    """Change ``name``, ``description`` or metadata: all (``metadata``), some (``set_metadata``),
    or remove one by its name (``unset_metadata``).

    :raises BadRequest: another field is named, or there would be too much metadata
    :raises NotFound: there is no metadata of that name
    """
    wrong = sorted(set(changes).difference(PLAIN, METADATA))
    if wrong:
        fields = ", ".join(PLAIN + METADATA)
        raise BadRequest(f"{wrong[0]}: it cannot be changed; these can: {fields}.")
    instance = find_instance(turn, policy, ctxt, instance_id)
    check_current(turn, ctxt)
    policy.check(ctxt, UPDATE, target_of(instance))
    values = {name: changes[name] for name in PLAIN if name in changes}
    mine = (Instance.id == instance_id, Instance.deleted.is_(False))
    turn.must(Instance, *mine, updated_at=turn.now, **values)
    if set(changes).intersection(METADATA):
        # Read only now: others who change the row wait until this transaction ends.
        details = _details(turn, instance_id)
        edited = details | {"metadata": _edit(details.get("metadata", {}), changes)}
        turn.must(Instance, *mine, details=edited)
    return get_instance(turn, policy, ctxt, instance_id)


def _details(turn: Turn, instance_id: str) -> dict[str, Any]:
    instance = turn.get(Instance, instance_id)
    if instance is None:
        raise Moved
    return instance.details


def _edit(metadata: dict[str, str], changes: dict[str, Any]) -> dict[str, str]:
    """The metadata after the changes."""
    edited = changes.get("metadata", metadata) | changes.get("set_metadata", {})
    gone = changes.get("unset_metadata")
    if gone is not None and gone not in edited:
        raise NotFound(f"The server's metadata has no {gone[:60]!a}.")
    if len(edited) > MOST_METADATA:
        raise BadRequest(f"metadata must hold at most {MOST_METADATA} names.")
    return {name: value for name, value in edited.items() if name != gone}
