"""Machines that ran when their host lost its power, started again where the host wants that."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable
from functools import partial

import sqlalchemy as sa

from conductor import plan
from conductor.begin import begin
from conductor.checks import Case
from conductor.db.models import Action, Host, Instance, Step
from conductor.turn import Turn
from paddock.actions import ACTIONS, VmState
from paddock.context import RequestContext
from paddock.errors import PaddockError
from paddock.records import AcceptRequest

LOG = logging.getLogger(__name__)
VERB = "os-start"


def interrupted(turn: Turn, host: Host, instances: Iterable[Instance]) -> list[str]:
    """Ids of those that the ledger has running on the host, by actions from before its boot.

    Such a machine cannot run unless somebody starts it. Locked ones stay as they are.
    """
    if host.booted_at is None or host.forced_down:
        return []
    ran = [one for one in instances if one.host == host.name and _runs(one)]
    actions = [one.last_action for one in ran if one.last_action]
    query = sa.select(Action.id, Action.finished_at).where(Action.id.in_(actions))
    ended = dict(turn.session.execute(query).tuples().all())
    return [one.id for one in ran if _touched(one, ended) < host.booted_at]


def _runs(instance: Instance) -> bool:
    idle = instance.busy is None and not instance.locked
    return instance.vm_state == VmState.ACTIVE and idle


def _touched(instance: Instance, ended: dict[str, datetime.datetime | None]) -> datetime.datetime:
    """When the last action on it ended; when its row changed last, if that is not known."""
    at = ended.get(instance.last_action or "")
    return at or instance.updated_at or instance.created_at


def start_again(turn: Turn, host: str, instance_ids: Iterable[str]) -> None:
    """Begin an action of the cloud's own for each of these that turned out to be stopped."""
    wanted = list(instance_ids)
    for instance_id in wanted:
        try:
            turn.attempt(partial(_start, turn, host, instance_id, len(wanted)))
        except PaddockError as error:
            about = {"instance_id": instance_id}
            LOG.warning("It is not started again: %s", error.message, extra=about)


def _start(turn: Turn, name: str, instance_id: str, together: int) -> None:
    instance, host = turn.get(Instance, instance_id), turn.get(Host, name)
    if instance is None or instance.busy or instance.locked or instance.host != name:
        return
    if instance.deleted or instance.vm_state != VmState.STOPPED:
        return
    action_id = turn.new_id()
    begin(
        Case(
            turn=turn,
            ctxt=RequestContext(
                request_id=f"req-{turn.new_id()}", project_id=instance.project_id
            ),
            request=AcceptRequest(
                action_id=action_id, instance_id=instance_id, verb=VERB, params={},
                fingerprint="",
            ),
            action=ACTIONS[VERB],
            instance=instance,
            host=host,
            passes_lock=False,
            passes_pause=True,
        )
    )  # fmt: skip
    _be_patient(turn, action_id, together)


def _be_patient(turn: Turn, action_id: str, together: int) -> None:
    """Those of one host wait for each other, longer than one alone may take."""
    (step,) = turn.all(sa.select(Step).where(Step.action_id == action_id))
    if step.deadline is not None and step.hard_deadline is not None:
        allowed = datetime.timedelta(seconds=together * plan.seconds(turn, VERB))
        deadline = min(turn.now + allowed, step.hard_deadline)
        turn.must(Step, Step.id == step.id, deadline=deadline)
