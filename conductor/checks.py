"""The checks of accept, each once and in one order; they change nothing."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from conductor.callers import check_current, find_instance, target_of
from conductor.db.models import Action as ActionRow
from conductor.db.models import Host, Instance, Pause
from conductor.placement import capabilities, require_up
from conductor.policy import Policy
from conductor.turn import Turn
from paddock.actions import ACTIONS, Action, VmState, asked
from paddock.context import RequestContext
from paddock.errors import (
    BadRequest,
    Forbidden,
    HostPaused,
    HostUnavailable,
    InstanceBusy,
    InstanceLocked,
    InvalidPowerState,
    InvalidState,
    Unsupported,
)
from paddock.records import AcceptRequest

ABOVE_LOCKS = "paddock:servers:pass_lock"
ABOVE_PAUSES = "paddock:servers:pass_pause"


@dataclass(frozen=True)
class Case:
    """A request with the rows that it was checked on.

    :ivar action: the table's row; ``os-start`` of a powered-off machine is ``vm-poweron``
    :ivar host: the instance's host, None when it has none
    :ivar passes_lock, passes_pause: the caller is an administrator
    """

    turn: Turn
    ctxt: RequestContext
    request: AcceptRequest
    action: Action
    instance: Instance
    host: Host | None
    passes_lock: bool
    passes_pause: bool


def check(turn: Turn, policy: Policy, ctxt: RequestContext, request: AcceptRequest) -> Case:
    """Check a request up to, and without, quota and room.

    :raises PaddockError: the first refusal, in the order of the design
    """
    action = ACTIONS.get(request.verb)
    if action is None or request.verb == "create":
        raise BadRequest(f"There is no such action {request.verb!r}.")
    check_current(turn, ctxt)
    instance = find_instance(turn, policy, ctxt, request.instance_id)
    _check_policy(policy, ctxt, action, instance)
    return examine(_case(turn, policy, ctxt, request, action, instance))


def examine(case: Case) -> Case:
    """The checks that are no question of who asks; gives the case back.

    :raises PaddockError: the first refusal, in the order of the design
    """
    for demand in (_unlocked, _open, _idle, _state, _host_up, _capable):
        demand(case)
    return case


def _check_policy(policy: Policy, ctxt: RequestContext, action: Action, instance: Instance) -> None:
    try:
        policy.check(ctxt, action.policy, target_of(instance))
    except Forbidden as error:
        if action.power_errors:  # the power actions answer 400 to all that is wrong
            raise BadRequest(error.message) from None
        raise


def _case(
    turn: Turn,
    policy: Policy,
    ctxt: RequestContext,
    request: AcceptRequest,
    action: Action,
    instance: Instance,
) -> Case:
    if action.verb == "os-start" and instance.vm_state == VmState.POWERED_OFF:
        action = ACTIONS["vm-poweron"]
    return Case(
        turn=turn,
        ctxt=ctxt,
        request=request,
        action=action,
        instance=instance,
        host=turn.get(Host, instance.host) if instance.host else None,
        passes_lock=passes_lock(policy, ctxt, instance),
        passes_pause=policy.allows(ctxt, ABOVE_PAUSES, target_of(instance)),
    )


def _unlocked(case: Case) -> None:
    """The owner may yet lift or renew a lock of his own."""
    own = case.action.verb in ("lock", "unlock") and not case.instance.lock_admin
    if not case.passes_lock and not own:
        refuse_locked(case.instance)


def passes_lock(policy: Policy, ctxt: RequestContext, instance: Instance) -> bool:
    """Whether locks do not hold the caller back."""
    return policy.allows(ctxt, ABOVE_LOCKS, target_of(instance))


def refuse_locked(instance: Instance) -> None:
    """A lock refuses everything that changes the instance.

    :raises InstanceLocked: with the reason
    """
    if instance.locked:
        reason = instance.lock_reason or "no reason was given"
        raise InstanceLocked(f"Instance {instance.id} is locked: {reason}")


def _open(case: Case) -> None:
    if case.host is None or not case.host.paused or case.passes_pause:
        return
    pauses = case.turn.all(sa.select(Pause).where(Pause.host == case.host.name))
    reasons = "; ".join(pause.reason or "no reason was given" for pause in pauses)
    raise HostPaused(f"Host {case.host.name} is paused: {reasons}")


def _idle(case: Case) -> None:
    busy = case.instance.busy
    if busy is None or case.action.supersedes or not case.action.steps:
        return
    going_on = case.turn.get(ActionRow, busy)
    verb = asked(going_on.verb) if going_on else "another action"
    raise InstanceBusy(
        f"Cannot '{asked(case.request.verb)}' instance {case.instance.id} while '{verb}' "
        "is going on.",
        action=verb,
    )


def _state(case: Case) -> None:
    allowed, found = case.action.allowed, case.instance.vm_state
    kind = InvalidPowerState if case.action.power_errors else InvalidState
    if allowed is None:
        return
    if case.instance.launched_at is None:
        raise kind(f"Instance {case.instance.id} was never launched; it can only be deleted.")
    if found in allowed:
        return
    fitting = " or ".join(sorted(state.value for state in allowed))
    raise kind(
        f"Cannot '{asked(case.request.verb)}' instance {case.instance.id} while it is in vm_state "
        f"{found}; it must be {fitting}."
    )


def _host_up(case: Case) -> None:
    if not _needs_host(case):
        return
    if case.host is None:
        raise HostUnavailable(f"Instance {case.instance.id} is on no host.")
    require_up(case.host, case.instance.id)


def _needs_host(case: Case) -> bool:
    """Power on finds its host by itself."""
    return not case.action.passes_host and case.action.verb != "vm-poweron"


def _capable(case: Case) -> None:
    needed = case.action.capability
    if needed and case.host and needed not in capabilities(case.host):
        raise Unsupported(
            f"The hypervisor of host {case.host.name} cannot {asked(case.request.verb)}."
        )
