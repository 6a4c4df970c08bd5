"""Changing what an instance is called and described by; no action, no host."""

from __future__ import annotations

from typing import Any

from conductor.callers import check_current, find_instance, target_of
from conductor.checks import passes_lock, refuse_locked
from conductor.db.models import Instance
from conductor.documents import InstanceChanges
from conductor.policy import Policy
from conductor.turn import Moved, Turn
from conductor.views import get_instance
from paddock.clients import read
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

    As in Nova, a lock keeps the metadata and not the name.

    :raises BadRequest: another field is named, or there would be too much metadata
    :raises InstanceLocked: metadata is named, and the instance is locked for the caller
    :raises NotFound: there is no metadata of that name
    """
    wrong = sorted(set(changes).difference(PLAIN, METADATA))
    if wrong:
        fields = ", ".join(PLAIN + METADATA)
        raise BadRequest(f"{wrong[0]}: it cannot be changed; these can: {fields}.")
    read(changes, InstanceChanges)
    check_current(turn, ctxt)
    instance = find_instance(turn, policy, ctxt, instance_id)
    policy.check(ctxt, UPDATE, target_of(instance))
    values = {name: changes[name] for name in PLAIN if name in changes}
    mine = (Instance.id == instance_id, Instance.deleted.is_(False))
    turn.must(Instance, *mine, updated_at=turn.now, **values)
    if set(changes).intersection(METADATA):
        # Read only now: others who change the row wait until this transaction ends.
        instance = _reread(turn, instance_id)
        if not passes_lock(policy, ctxt, instance):
            refuse_locked(instance)
        details = instance.details
        edited = details | {"metadata": _edit(details.get("metadata", {}), changes)}
        turn.must(Instance, *mine, details=edited)
    return get_instance(turn, policy, ctxt, instance_id)


def _reread(turn: Turn, instance_id: str) -> Instance:
    instance = turn.get(Instance, instance_id)
    if instance is None:
        raise Moved
    return instance


def _edit(metadata: dict[str, str], changes: dict[str, Any]) -> dict[str, str]:
    """The metadata after the changes."""
    edited = changes.get("metadata", metadata) | changes.get("set_metadata", {})
    gone = changes.get("unset_metadata")
    if gone is not None and gone not in edited:
        raise NotFound(f"The server's metadata has no {gone[:60]!a}.")
    if len(edited) > MOST_METADATA:
        raise BadRequest(f"metadata must hold at most {MOST_METADATA} names.")
    return {name: value for name, value in edited.items() if name != gone}
