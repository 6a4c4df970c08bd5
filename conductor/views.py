"""Instances and actions as the API shows them: one SQL query for each page."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Bundle, aliased

from conductor import listing as pages
from conductor.callers import check_current, is_current, is_user, not_found, target_of
from conductor.db.models import Action, Host, Instance, Network, Port, Step
from conductor.moments import iso
from conductor.pages import most
from conductor.policy import Policy
from conductor.turn import Turn
from paddock.actions import ACTIONS
from paddock.context import RequestContext
from paddock.errors import BadRequest, NotFound
from paddock.records import ActionRecord, InstanceRecord, Listing, PortRecord, StepRecord

HOST: Bundle[Any] = Bundle("host", Host.state, Host.forced_down, Host.disabled)
STEP: Bundle[Any] = Bundle("step", Step.done, Step.total)
PORT: Bundle[Any] = Bundle(
    "port", Port.id, Port.network_id, Port.mac, Port.address, Network.name.label("network_name")
)
SERVERS = "os_compute_api:servers"
LIST_ACTIONS = "os_compute_api:os-instance-actions:list"


def list_instances(
    turn: Turn, policy: Policy, ctxt: RequestContext, listing: Listing
) -> list[InstanceRecord]:
    """A page of instances.

    :raises BadRequest: a filter, a sort key or the marker is unknown or malformed
    """
    everyone = bool(listing.filters.get("all_tenants"))
    policy.check(ctxt, f"{SERVERS}:index" + (":get_all_tenants" if everyone else ""))
    page = sa.select(Instance).where(is_current(ctxt), *pages.conditions(listing))
    mine = None if everyone else str(ctxt.project_id)
    if mine is not None:
        page = page.where(Instance.project_id == mine)
    order = pages.order(listing)
    if listing.marker is not None:
        page = page.where(pages.after(order, listing.marker, mine))
    page = page.order_by(*pages.clauses(order)).limit(most(listing))
    records = _records(turn, _with_parts(page, listing))
    if not records:
        _explain_emptiness(turn, ctxt, listing, mine)
    return records


def _explain_emptiness(
    turn: Turn, ctxt: RequestContext, listing: Listing, mine: str | None
) -> None:
    check_current(turn, ctxt)
    if listing.marker is None:
        return
    last = turn.get(Instance, listing.marker)
    if last is None or mine not in (None, last.project_id):
        raise BadRequest(f"marker: [{listing.marker}] could not be found.")


def get_instance(
    turn: Turn, policy: Policy, ctxt: RequestContext, instance_id: str
) -> InstanceRecord:
    """One instance; NotFound when it is not there or another project's."""
    asked = {"instance_id": instance_id, "user_id": ctxt.user_id, "user_epoch": ctxt.user_epoch}
    records = _records(turn, _one_instance(), asked)
    if not records:
        check_current(turn, ctxt)
        raise not_found(instance_id)
    (record,) = records
    if not policy.allows(
        ctxt, f"{SERVERS}:show", {"project_id": record.project_id, "user_id": record.user_id}
    ):
        raise not_found(instance_id)
    return record


@functools.cache
def _one_instance() -> sa.Select[Any]:
    """Made once: it takes longer to make than to run."""
    caller = is_user(sa.bindparam("user_id"), sa.bindparam("user_epoch"))
    there = (Instance.id == sa.bindparam("instance_id"), Instance.deleted.is_(False))
    return _with_parts(sa.select(Instance).where(caller, *there), Listing())


def _with_parts(page: sa.Select[tuple[Instance]], listing: Listing) -> sa.Select[Any]:
    """A page's instances, each with what is shown of its host, its running step and its ports.

    A whole host would have its facts read for each of its instances.
    """
    one = aliased(Instance, page.subquery())
    running = sa.and_(Step.action_id == one.busy, Step.status == "running")
    return (
        sa.select(one, HOST, STEP, PORT)
        .outerjoin(Host, Host.name == one.host)
        .outerjoin(Port, Port.instance_id == one.id)
        .outerjoin(Network, Network.id == Port.network_id)
        .outerjoin(Step, running)
        .order_by(*pages.clauses(pages.order(listing), one), Port.position)
        .execution_options(populate_existing=True)
    )


def _records(
    turn: Turn, query: sa.Select[Any], values: dict[str, Any] | None = None
) -> list[InstanceRecord]:
    found: dict[str, tuple[Instance, Any, Any, dict[str, PortRecord]]] = {}
    for instance, host, step, port in turn.session.execute(query, values).tuples():
        *_, ports = found.setdefault(instance.id, (instance, host, step, {}))
        if port.id is not None:
            ports[port.id] = _port(port)
    return [_instance(*parts) for parts in found.values()]


def _port(port: Any) -> PortRecord:
    return PortRecord(
        id=port.id,
        network_id=port.network_id,
        network_name=port.network_name or "",
        mac=port.mac,
        address=port.address,
    )


def _instance(
    instance: Instance, host: Any, step: Any, ports: dict[str, PortRecord]
) -> InstanceRecord:
    return InstanceRecord(
        **_copy(
            instance,
            "id name description project_id user_id vm_state task_state power_state "
            "host disk_host zone generation image_id flavor locked fault reservation_id "
            "launch_index deleted wanted_zone",
        ),
        hypervisor_hostname=instance.host,
        metadata=instance.details.get("metadata", {}),
        ports=list(ports.values()),
        locked_reason=instance.lock_reason,
        host_status=_host_status(instance, host),
        progress=_percent(step),
        created_at=iso(instance.created_at),
        updated_at=iso(instance.updated_at),
        launched_at=iso(instance.launched_at),
        terminated_at=iso(instance.terminated_at),
    )


def _copy(row: Instance | Action | Step, names: str) -> dict[str, Any]:
    """The fields that a record has under the same names as the row."""
    return {name: getattr(row, name) for name in names.split()}


def _host_status(instance: Instance, host: Any) -> str:
    """Nova's words for the health of the instance's host."""
    if instance.host is None:
        return ""
    if host.state in (None, "reconciling"):
        return "UNKNOWN"
    if host.state == "down" or host.forced_down:
        return "DOWN"
    return "MAINTENANCE" if host.disabled else "UP"


def _percent(step: Any) -> int:
    return 100 * step.done // step.total if step.total else 0


def list_actions(
    turn: Turn, policy: Policy, ctxt: RequestContext, instance_id: str, listing: Listing
) -> list[ActionRecord]:
    """An instance's accepted actions with their steps, newest first; also of a deleted one."""
    page = sa.select(Action).where(*pages.action_conditions(listing))
    return _actions(turn, policy, ctxt, instance_id, page.limit(most(listing)))


def get_action(
    turn: Turn, policy: Policy, ctxt: RequestContext, instance_id: str, request_id: str
) -> ActionRecord:
    """The instance's action of that request. NotFound."""
    page = sa.select(Action).where(Action.request_id == request_id).limit(1)
    for record in _actions(turn, policy, ctxt, instance_id, page):
        return record
    raise NotFound(f"Action for request_id {request_id} on instance {instance_id} not found")


def _actions(
    turn: Turn,
    policy: Policy,
    ctxt: RequestContext,
    instance_id: str,
    page: sa.Select[tuple[Action]],
) -> list[ActionRecord]:
    newest = (Action.created_at.desc(), Action.id.desc())
    mine = page.where(Action.instance_id == instance_id, Action.status != "refused")
    one = aliased(Action, mine.order_by(*newest).subquery())
    query = (
        sa.select(Instance, one, Step)
        .outerjoin(one, one.instance_id == Instance.id)
        .outerjoin(Step, Step.action_id == one.id)
        .where(Instance.id == instance_id, is_current(ctxt))
        .order_by(one.created_at.desc(), one.id.desc(), Step.ordinal)
        .execution_options(populate_existing=True)
    )
    rows = turn.session.execute(query).tuples().all()
    _check_actions(turn, policy, ctxt, instance_id, rows[0][0] if rows else None)
    found: dict[str, tuple[Action, list[Step]]] = {}
    for _, action, step in rows:
        if action is not None:
            _, steps = found.setdefault(action.id, (action, []))
            steps += [step] if step is not None else []
    return [_action(action, steps) for action, steps in found.values()]


def _check_actions(
    turn: Turn,
    policy: Policy,
    ctxt: RequestContext,
    instance_id: str,
    instance: Instance | None,
) -> None:
    if instance is None:
        check_current(turn, ctxt)
        raise not_found(instance_id)
    if not policy.allows(ctxt, f"{SERVERS}:show", target_of(instance)):
        raise not_found(instance_id)
    policy.check(ctxt, LIST_ACTIONS, target_of(instance))


def _action(action: Action, steps: Iterable[Step]) -> ActionRecord:
    return ActionRecord(
        **_copy(action, "id request_id instance_id status user_id project_id reason"),
        verb=ACTIONS[action.verb].shown if action.verb in ACTIONS else action.verb,
        created_at=iso(action.created_at),
        updated_at=iso(action.updated_at),
        finished_at=iso(action.finished_at),
        steps=[_step(step) for step in steps],
    )


def _step(step: Step) -> StepRecord:
    return StepRecord(
        **_copy(step, "kind host status attempt reason done total"),
        created_at=iso(step.created_at),
        started_at=iso(step.started_at),
        finished_at=iso(step.finished_at),
    )
