"""Instances and actions as the API shows them: one SQL query for each page."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

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

AS_IN_ROW = (
    "id", "name", "description", "project_id", "user_id", "vm_state", "task_state", "power_state",
    "host", "disk_host", "zone", "generation", "image_id", "flavor", "locked", "fault",
    "reservation_id", "launch_index", "deleted", "wanted_zone",
)  # fmt: skip
"""The fields of an instance that its record has under the same names."""
OTHERS = ("details", "lock_reason", "created_at", "updated_at", "launched_at", "terminated_at")
PARTS = (
    Host.state.label("host_state"),
    Host.forced_down,
    Host.disabled,
    Step.done,
    Step.total,
    Port.id.label("port_id"),
    Port.network_id,
    Network.name.label("network_name"),
    Port.mac,
    Port.address,
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
    mine = None if everyone else str(ctxt.project_id)
    values = _caller(ctxt) | {"project_id": mine, "marker": listing.marker, "limit": most(listing)}
    records = _records(turn, _page(listing, everyone), values)
    if not records:
        _explain_emptiness(turn, ctxt, listing, mine)
    return records


def _caller(ctxt: RequestContext) -> dict[str, Any]:
    return {"user_id": ctxt.user_id, "user_epoch": ctxt.user_epoch}


def _page(listing: Listing, everyone: bool) -> sa.Select[Any]:
    """Made once for each order, unless there are filters: it takes longer to make than to run."""
    goes_on = listing.marker is not None
    if listing.filters.keys() <= {"all_tenants"}:
        return _whole_page(tuple(pages.order(listing)), everyone, goes_on)
    conditions = pages.conditions(listing)
    return _make_page(pages.order(listing), everyone, goes_on, conditions)


@functools.lru_cache(maxsize=64)
def _whole_page(order: pages.Order, everyone: bool, goes_on: bool) -> sa.Select[Any]:
    return _make_page(order, everyone, goes_on, pages.conditions(Listing()))


def _make_page(
    order: pages.Order, everyone: bool, goes_on: bool, conditions: list[pages.Condition]
) -> sa.Select[Any]:
    page = sa.select(Instance).where(_is_caller(), *conditions)
    project = None if everyone else sa.bindparam("project_id", type_=Instance.project_id.type)
    if project is not None:
        page = page.where(Instance.project_id == project)
    if goes_on:
        page = page.where(pages.after(order, sa.bindparam("marker"), project))
    limit = sa.bindparam("limit", type_=sa.Integer)
    return _with_parts(page.order_by(*pages.clauses(order)).limit(limit), order)


def _is_caller() -> sa.ColumnElement[bool]:
    return is_user(sa.bindparam("user_id"), sa.bindparam("user_epoch"))


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
    records = _records(turn, _one_instance(), _caller(ctxt) | {"instance_id": instance_id})
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
    there = (Instance.id == sa.bindparam("instance_id"), Instance.deleted.is_(False))
    return _with_parts(sa.select(Instance).where(_is_caller(), *there), ())


def _with_parts(page: sa.Select[tuple[Instance]], order: pages.Order) -> sa.Select[Any]:
    """A page's instances, each with what is shown of its host, its running step and its ports.

    They are plain columns: entities of thousands of instances would take twice as long, and a
    whole host would have its facts read for each of its instances.
    """
    one = page.subquery()
    running = sa.and_(Step.action_id == one.c.busy, Step.status == "running")
    return (
        sa.select(*(one.c[name] for name in (*AS_IN_ROW, *OTHERS)), *PARTS)
        .select_from(one)
        .outerjoin(Host, Host.name == one.c.host)
        .outerjoin(Port, Port.instance_id == one.c.id)
        .outerjoin(Network, Network.id == Port.network_id)
        .outerjoin(Step, running)
        .order_by(*pages.clauses(order, one.c), Port.position)
    )


def _records(turn: Turn, query: sa.Select[Any], values: dict[str, Any]) -> list[InstanceRecord]:
    found: dict[str, tuple[Any, dict[str, PortRecord]]] = {}
    for row in turn.session.connection().execute(query, values).all():
        _, ports = found.setdefault(row.id, (row, {}))
        if row.port_id is not None:
            ports[row.port_id] = _port(row)
    return [_instance(row, list(ports.values())) for row, ports in found.values()]


def _port(row: Any) -> PortRecord:
    return PortRecord(
        id=row.port_id,
        network_id=row.network_id,
        network_name=row.network_name or "",
        mac=row.mac,
        address=row.address,
    )


def _instance(row: Any, ports: list[PortRecord]) -> InstanceRecord:
    return InstanceRecord(
        **dict(zip(AS_IN_ROW, row, strict=False)),
        hypervisor_hostname=row.host,
        metadata=row.details.get("metadata", {}),
        ports=ports,
        locked_reason=row.lock_reason,
        host_status=_host_status(row),
        progress=100 * row.done // row.total if row.total else 0,
        created_at=iso(row.created_at),
        updated_at=iso(row.updated_at),
        launched_at=iso(row.launched_at),
        terminated_at=iso(row.terminated_at),
    )


def _copy(row: Action | Step, names: str) -> dict[str, Any]:
    """The fields that a record has under the same names as the row."""
    return {name: getattr(row, name) for name in names.split()}


def _host_status(row: Any) -> str:
    """Nova's words for the health of the instance's host."""
    if row.host is None:
        return ""
    if row.host_state in (None, "reconciling"):
        return "UNKNOWN"
    if row.host_state == "down" or row.forced_down:
        return "DOWN"
    return "MAINTENANCE" if row.disabled else "UP"


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


def _action(action: Action, steps: Sequence[Step]) -> ActionRecord:
    """Its row changes when it is accepted and when it ends; its steps tell what is between."""
    begun = [step.started_at for step in steps if step.started_at is not None]
    changed = [*begun, action.updated_at or action.created_at]
    return ActionRecord(
        **_copy(action, "id request_id instance_id user_id project_id reason"),
        status="running" if begun and action.status == "accepted" else action.status,
        verb=ACTIONS[action.verb].shown if action.verb in ACTIONS else action.verb,
        created_at=iso(action.created_at),
        updated_at=iso(max(changed)),
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
