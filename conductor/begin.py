"""What acceptance writes, once all checks but quota and room have passed."""

from __future__ import annotations

from typing import Any

from conductor import claims, deletion, giving_up, leftovers, live, migration, plan, power_on
from conductor.checks import Case
from conductor.db.models import Action, Host, Instance, Step
from conductor.db.statements import There
from conductor.placement import objection
from conductor.supersede import supersede
from conductor.tickets import ticket
from conductor.turn import Turn
from paddock.actions import ACTIONS, LAUNCHING, StepKind, VmState
from paddock.errors import (
    BadRequest,
    HostUnavailable,
    InvalidState,
    NoValidHost,
    ZoneUnavailable,
)
from paddock.records import Ticket

DELETIONS = ("delete", "forceDelete")
FACTS = ("id", "busy", "vm_state", "host", "disk_host", "lock_version")
HOST_FACTS = ("name", "state", "forced_down", "paused")
"""What checks read of instances and hosts."""


def begin(case: Case) -> Ticket:
    """Write an accepted request: the instance is busy with it, or it is done already.

    :raises Moved: a fact that the checks read has changed
    :raises PaddockError: quota or room refuse it
    """
    verbs = {
        "lock": _lock,
        "unlock": _unlock,
        "os-resetState": _reset,
        "delete": _delete,
        "forceDelete": _delete,
        "vm-poweron": _power_on,
        migration.VERB: _migrate,
        live.VERB: _migrate,
    }
    return verbs.get(case.action.verb, _work)(case)


def _seize(case: Case, **values: Any) -> None:
    """Change the instance if all that the checks read is still so."""
    read = case.instance
    case.turn.must(
        Instance,
        {name: getattr(read, name) for name in FACTS} | {"deleted": False},
        *_host_facts(case),
        updated_at=case.turn.now,
        **values,
    )


def _host_facts(case: Case) -> list[There]:
    if case.host is None or case.action.passes_host:
        return []
    return [There(Host, {name: getattr(case.host, name) for name in HOST_FACTS})]


def _hold(case: Case) -> Action:
    """The instance becomes busy with this action, and what was seen of it before is old.

    Of an action that begins elsewhere the agent at home hears later, or never.
    """
    key = case.request.action_id
    heard = {} if StepKind.RECEIVE in case.action.steps else {"last_action": key}
    _seize(case, busy=key, task_state=case.action.task_state, **heard)
    return _note(case, "accepted")


def _note(case: Case, status: str) -> Action:
    turn, read = case.turn, case.instance
    before = (
        "vm_state", "power_state", "host", "disk_host", "generation", "disk_generation", "zone",
    )  # fmt: skip
    action = Action(
        id=case.request.action_id,
        instance_id=read.id,
        verb=case.action.verb,
        status=status,
        params=case.request.params,
        before={name: getattr(read, name) for name in before},
        fingerprint=case.request.fingerprint,
        request_id=case.ctxt.request_id,
        user_id=case.ctxt.user_id,
        project_id=case.ctxt.project_id,
        created_at=turn.now,
        updated_at=turn.now,
        finished_at=None if status == "accepted" else turn.now,
    )
    turn.add(action)
    return action


def _ticket(case: Case, steps: list[Step]) -> Ticket:
    """The first step's hint is the API's to send, the other ones' ours."""
    issued = [step for step in steps if step.status == "accepted"]
    for step in issued[1:]:
        case.turn.hint(step)
    first = issued[0] if issued else None
    return ticket(case.turn, case.request.action_id, case.instance.id, first)


# --- work on the instance's own host


def _work(case: Case) -> Ticket:
    if case.instance.last_action is None:  # as live.give_up leaves it: others are not looked up
        power_on.check_arrival_is_known(case.turn, case.instance)
    action, host = _hold(case), str(case.instance.host)
    if LAUNCHING.intersection(case.action.steps):
        _check_bars(case)
    if case.instance.vm_state == VmState.ERROR:
        _ensure_compute(case)
    return _ticket(case, plan.insert(case.turn, action, [(k, host) for k in case.action.steps]))


def _check_bars(case: Case) -> None:
    for row in leftovers.of_instance(case.turn, case.instance.id, leftovers.GUEST):
        if row.host != case.instance.host:
            raise HostUnavailable(
                f"Instance {case.instance.id} may still run on host {row.host}, which has not "
                "reported yet."
            )


def _ensure_compute(case: Case) -> None:
    """A machine that comes out of error may hold no room; it needs some to run."""
    turn, instance, host = case.turn, case.instance, str(case.instance.host)
    if claims.holds(turn, instance.id, host, claims.COMPUTE):
        return
    if not claims.take(turn, instance, host, (claims.COMPUTE,), case.request.action_id):
        reason = objection(turn, instance, host)
        raise NoValidHost(f"Host {host} cannot take instance {instance.id}: {reason}.")


def _power_on(case: Case) -> Ticket:
    strict = ACTIONS[case.request.verb].power_errors
    refusal = ZoneUnavailable if strict else NoValidHost
    action = _hold(case)
    steps = power_on.place(case.turn, case.instance, action, refusal)
    return _ticket(case, plan.insert(case.turn, action, steps))


def _migrate(case: Case) -> Ticket:
    action = _hold(case)
    kind = live if action.verb == live.VERB else migration
    steps = kind.plan(case.turn, case.instance, action)
    return _ticket(case, plan.insert(case.turn, action, steps))


# --- what ends at once or ends what is going on


def _lock(case: Case) -> Ticket:
    reason = case.request.params.get("locked_reason")
    _change_lock(case, True, case.passes_lock, case.ctxt.user_id, reason)
    return _ticket(case, [])


def _unlock(case: Case) -> Ticket:
    _change_lock(case, False, False, None, None)
    return _ticket(case, [])


def _change_lock(
    case: Case, locked: bool, admin: bool, who: str | None, reason: str | None
) -> None:
    _seize(
        case,
        locked=locked,
        lock_admin=admin,
        lock_who=who,
        lock_reason=reason,
        lock_at=case.turn.now if locked else None,
        lock_version=Instance.lock_version + 1,
    )
    _note(case, "succeeded")


def _delete(case: Case) -> Ticket:
    action = _hold(case)
    going_on, ended = supersede(case.turn, case.instance, case.request.verb, cleanup=True)
    if going_on is not None and going_on.verb in live.MOVES:
        migration.give_way(case.turn, ended)
    return _ticket(case, deletion.destroy(case.turn, case.instance, action, ended))


def _check_not_deleted(turn: Turn, instance: Instance) -> None:
    """A deletion cannot be taken back: it gave up what went on before. It ends anyway."""
    going_on = turn.get(Action, instance.busy) if instance.busy else None
    if going_on is not None and going_on.verb in DELETIONS:
        raise InvalidState(f"Instance {instance.id} is being deleted already.")


def _reset(case: Case) -> Ticket:
    """Say that the machine is active or in error, whatever was going on (administrators)."""
    turn, instance = case.turn, case.instance
    state = case.request.params.get("state")
    if state not in (VmState.ACTIVE, VmState.ERROR):
        raise BadRequest("os-resetState: state must be active or error.")
    if state == VmState.ACTIVE and (instance.disk_host is None or instance.launched_at is None):
        raise InvalidState(f"Instance {instance.id} was never launched, so it cannot be active.")
    _check_not_deleted(turn, instance)
    _seize(case, vm_state=state, task_state=None, busy=None, last_action=None)
    ended, steps = supersede(turn, instance, "os-resetState", cleanup=False)
    for host in sorted({step.host for step in steps} | {str(instance.host)}):
        leftovers.order_reconcile(turn, host)
    changes = giving_up.give_up(turn, instance, ended, None) if ended else {}
    if changes:
        turn.must(Instance, Instance.id == instance.id, **changes)
    if state == VmState.ACTIVE:
        _ensure_compute(case)
    _note(case, "succeeded")
    return _ticket(case, [])
