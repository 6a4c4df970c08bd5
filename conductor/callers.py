"""Whether the caller is still who the token says, and which instances are the caller's."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from conductor.db.models import Instance, User
from conductor.policy import Policy
from conductor.turn import Turn
from paddock.context import RequestContext
from paddock.errors import NotFound, Unauthorized

SHOW = "os_compute_api:servers:show"


def is_current(ctxt: RequestContext) -> sa.ColumnElement[bool]:
    """In SQL: the token's user is enabled and still of the token's epoch."""
    return is_user(ctxt.user_id, ctxt.user_epoch)


def is_user(user_id: Any, epoch: Any) -> sa.ColumnElement[bool]:
    """In SQL: that user is enabled and still of that epoch."""
    mine = (User.id == user_id, User.enabled.is_(True), User.epoch == epoch)
    return sa.select(User.id).where(*mine).exists()


def check_current(turn: Turn, ctxt: RequestContext) -> None:
    """Raise Unauthorized when the user was disabled or the token ended."""
    user = turn.get(User, ctxt.user_id) if ctxt.user_id else None
    if user is None or not user.enabled or user.epoch != ctxt.user_epoch:
        raise Unauthorized


def find_instance(
    turn: Turn, policy: Policy, ctxt: RequestContext, instance_id: str, deleted: bool = False
) -> Instance:
    """An instance that the caller may see.

    :param deleted: tombstones too
    :raises NotFound: it is not there, or it is another project's
    """
    instance = turn.get(Instance, instance_id)
    if instance is None or (instance.deleted and not deleted):
        raise not_found(instance_id)
    if not policy.allows(ctxt, SHOW, target_of(instance)):
        raise not_found(instance_id)
    return instance


def target_of(instance: Instance) -> dict[str, str]:
    """What policy rules compare the caller with."""
    return {"project_id": instance.project_id, "user_id": instance.user_id}


def not_found(instance_id: str) -> NotFound:
    """The answer to a request for an instance that the caller cannot see."""
    return NotFound(f"Instance {instance_id} could not be found.")
