"""The ledger's invariants (design §3), each as one query for rows that break it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from conductor import leftovers, live
from conductor.db.drains import Drain, DrainMachine
from conductor.db.models import Action, Claim, Host, Instance, Leftover, Pause, Port, Project, Step
from conductor.drains import GOING_ON, HOLDER
from conductor.plan import LIVE, UNDONE
from paddock.actions import CLEANING, LAUNCHING, PowerState, VmState

RUNNING = (VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED)
Rule = tuple[sa.Select[Any], str]


def violations(session: Session) -> list[str]:
    """One sentence for each row that breaks an invariant; empty when all hold.

    Reads in one transaction of the caller's, which should be a snapshot where others write.
    """
    return [sentence.format(*row) for query, sentence in rules() for row in session.execute(query)]


def rules() -> list[Rule]:
    """Each invariant: a query for the rows that break it, and the sentence that says so."""
    return [
        _busy_without_live_action(),
        _live_without_busy(),
        _live_without_step(),
        _steps_without_deadline(),
        _steps_of_ended_actions(),
        _failures_without_reason(),
        _host_counters(),
        _project_counters(),
        _claims_without_owner(),
        _claims_twice(),
        _homes(),
        _room_of_machines(),
        _room_of_the_powered_off(),
        _running_though_off(),
        _strays(),
        _tombstones(),
        _ports(),
        _two_launches(),
        _guests_of_the_deleted(),
        _undone_after_a_drain(),
        _drains_of_open_hosts(),
    ]


def _live_action(instance_id: Any, busy: Any) -> sa.ColumnElement[bool]:
    mine = (Action.id == busy, Action.instance_id == instance_id, Action.status.in_(LIVE))
    return sa.select(Action.id).where(*mine).exists()


def _busy_without_live_action() -> Rule:
    query = sa.select(Instance.id, Instance.busy).where(
        Instance.busy.is_not(None), ~_live_action(Instance.id, Instance.busy)
    )
    return query, "instance {} is busy with {}, which is not live"


def _live_without_busy() -> Rule:
    busy = sa.select(Instance.id).where(Instance.busy == Action.id).exists()
    query = sa.select(Action.id, Action.instance_id).where(Action.status.in_(LIVE), ~busy)
    return query, "action {} is live, but instance {} is not busy with it"


def _live_without_step() -> Rule:
    step = sa.select(Step.id).where(Step.action_id == Action.id, Step.status.in_(LIVE)).exists()
    query = sa.select(Action.id).where(Action.status.in_(LIVE), ~step)
    return query, "action {} is live without a live step"


def _steps_without_deadline() -> Rule:
    late = sa.or_(Step.deadline.is_(None), Step.deadline > Step.hard_deadline)
    query = sa.select(Step.id).where(Step.status.in_(LIVE), late)
    return query, "step {} is live without a deadline that holds"


def _steps_of_ended_actions() -> Rule:
    query = (
        sa.select(Step.id, Step.status, Action.id, Action.status)
        .join(Action, Action.id == Step.action_id)
        .where(Step.status.in_(UNDONE), Action.status.not_in(LIVE))
        .where(sa.or_(Step.kind.not_in(CLEANING), Action.status != "succeeded"))
    )
    return query, "step {} is {} though its action {} is {}"


def _failures_without_reason() -> Rule:
    silent = sa.func.coalesce(Action.reason, "") == ""
    query = sa.select(Action.id, Action.verb).where(Action.status == "failed", silent)
    return query, "action {}, a {}, has failed without a reason"


def _host_counters() -> Rule:
    columns = ("vcpus", "memory_mb", "disk_gb")
    sums = [sa.func.coalesce(sa.func.sum(getattr(Claim, name)), 0) for name in columns]
    counters = [getattr(Host, f"claimed_{name}") for name in columns]
    query = (
        sa.select(Host.name, *counters, *sums)
        .outerjoin(Claim, Claim.host == Host.name)
        .group_by(Host.name, *counters)
        .having(sa.or_(*(c != s for c, s in zip(counters, sums, strict=True))))
    )
    return query, "host {} counts {}, {}, {} but claims sum up to {}, {}, {}"


def _project_counters() -> Rule:
    mine = sa.and_(Instance.project_id == Project.id, Instance.deleted.is_(False))
    sums = [
        sa.func.count(Instance.id),
        sa.func.coalesce(sa.func.sum(Instance.vcpus), 0),
        sa.func.coalesce(sa.func.sum(Instance.memory_mb), 0),
    ]
    counters = [Project.used_instances, Project.used_cores, Project.used_memory_mb]
    query = (
        sa.select(Project.id, *counters, *sums)
        .outerjoin(Instance, mine)
        .group_by(Project.id, *counters)
        .having(sa.or_(*(c != s for c, s in zip(counters, sums, strict=True))))
    )
    return query, "project {} counts {}, {}, {} but has {}, {}, {}"


def _claims_without_owner() -> Rule:
    owner = sa.and_(Instance.id == Claim.instance_id, Instance.deleted.is_(False))
    query = (
        sa.select(Claim.instance_id, Claim.host)
        .outerjoin(Instance, owner)
        .outerjoin(Host, Host.name == Claim.host)
        .where(sa.or_(Instance.id.is_(None), Host.name.is_(None)))
    )
    return query, "the claim of {} on {} has no owner or no host"


def _claims_twice() -> Rule:
    """A machine that moves has room where it comes from until it has arrived, or is known not to
    have."""
    moving = (Action.verb.in_(live.MOVES), Action.status.in_(LIVE))
    unknown = sa.select(Leftover.instance_id).where(Leftover.kind == leftovers.ARRIVAL)
    query = (
        sa.select(Claim.instance_id)
        .where(Claim.kind == "compute")
        .where(Claim.instance_id.not_in(sa.select(Action.instance_id).where(*moving)))
        .where(Claim.instance_id.not_in(unknown))
        .group_by(Claim.instance_id)
        .having(sa.func.count() > 1)
    )
    return query, "instance {} has room on two hosts"


def _guest_left() -> sa.ColumnElement[bool]:
    mine = (Leftover.instance_id == Instance.id, Leftover.kind == "guest")
    return sa.select(Leftover.id).where(*mine).exists()


def _idle() -> tuple[sa.ColumnElement[bool], ...]:
    return Instance.busy.is_(None), Instance.deleted.is_(False)


def _claim(kind: str, host: Any) -> sa.ColumnElement[bool]:
    mine = (Claim.instance_id == Instance.id, Claim.kind == kind, Claim.host == host)
    return sa.select(Claim.instance_id).where(*mine).exists()


def _homes() -> Rule:
    """An idle machine is where its disk is, which is claimed there."""
    astray = sa.or_(Instance.host != Instance.disk_host, ~_claim("disk", Instance.disk_host))
    query = sa.select(Instance.id, Instance.host, Instance.disk_host).where(
        *_idle(), Instance.disk_host.is_not(None), astray, ~_guest_left()
    )
    return query, "instance {} is on {} and its disk on {}, or not claimed there"


def _room_of_machines() -> Rule:
    query = sa.select(Instance.id, Instance.vm_state, Instance.host).where(
        *_idle(), Instance.vm_state.in_(RUNNING), ~_claim("compute", Instance.host)
    )
    return query, "instance {} is {} without room on {}"


def _room_of_the_powered_off() -> Rule:
    room = sa.select(Claim.host).where(Claim.instance_id == Instance.id, Claim.kind == "compute")
    query = sa.select(Instance.id).where(
        *_idle(), Instance.vm_state == VmState.POWERED_OFF, room.exists(), ~_guest_left()
    )
    return query, "instance {} is powered off and yet has room"


def _running_though_off() -> Rule:
    query = sa.select(Instance.id, Instance.host).where(
        *_idle(), Instance.vm_state == VmState.POWERED_OFF, ~_guest_left(),
        Instance.power_state.in_((PowerState.RUNNING, PowerState.PAUSED)),
    )  # fmt: skip
    return query, "instance {} is powered off and yet runs on {}"


def _strays() -> Rule:
    """A guest that was found where it does not belong, until it is removed."""
    at_home = [sa.func.coalesce(home, "") for home in (Instance.host, Instance.disk_host)]
    query = (
        sa.select(Instance.id, Leftover.host)
        .join(Leftover, Leftover.instance_id == Instance.id)
        .where(*_idle(), Leftover.kind == "guest", Leftover.host.not_in(at_home))
    )
    return query, "instance {} may run on {}, where it does not belong"


def _tombstones() -> Rule:
    live = sa.select(Step.id).where(Step.instance_id == Instance.id, Step.status.in_(UNDONE))
    query = sa.select(Instance.id).where(
        Instance.deleted.is_(True),
        sa.or_(Instance.busy.is_not(None), Instance.host.is_not(None), live.exists()),
    )
    return query, "instance {} is deleted and yet not at rest"


def _ports() -> Rule:
    owner = sa.select(Instance.id).where(Instance.deleted.is_(False))
    query = sa.select(Port.id).where(
        Port.instance_id.is_not(None),
        sa.or_(Port.instance_id.not_in(owner), Port.quarantine_host.is_not(None)),
    )
    return query, "port {} has no owner, or is owned and waiting for a host"


def _two_launches() -> Rule:
    query = (
        sa.select(Step.instance_id)
        .where(Step.kind.in_(LAUNCHING), Step.status == "running")
        .group_by(Step.instance_id)
        .having(sa.func.count() > 1)
    )
    return query, "instance {} is being launched twice"


def _guests_of_the_deleted() -> Rule:
    query = (
        sa.select(Leftover.id)
        .join(Instance, Instance.id == Leftover.instance_id)
        .where(Instance.deleted.is_(True), Leftover.kind != "instance")
    )
    return query, "leftover {} waits for a machine that is deleted"


def _undone_after_a_drain() -> Rule:
    query = (
        sa.select(DrainMachine.instance_id, Drain.status)
        .join(Drain, Drain.id == DrainMachine.drain_id)
        .where(Drain.status.not_in(GOING_ON), DrainMachine.status != "done")
    )
    return query, "machine {} of a drain that is {} has no verdict"


def _drains_of_open_hosts() -> Rule:
    held = sa.select(Pause.host).where(Pause.host == Drain.host, Pause.holder == HOLDER)
    query = sa.select(Drain.host).where(
        Drain.status.in_(GOING_ON), Drain.homeward.is_(False), ~held.exists()
    )
    return query, "host {} is being drained and takes new machines"
