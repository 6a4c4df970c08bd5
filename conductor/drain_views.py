"""Drains as they are shown, with what their moves say of the time that is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from conductor import drain_estimate
from conductor.db.drains import Drain, DrainMachine
from conductor.db.models import Instance, Step
from conductor.drain_estimate import Copying, Finished, Load, Pace
from conductor.drain_plan import LEAVE, PER_TARGET
from conductor.moments import iso
from conductor.turn import Turn
from paddock.actions import StepKind
from paddock.records import DrainMachine as MachineRecord
from paddock.records import DrainRecord

GIB = 2**30
ENDED = ("completed", "cancelled", "failed", "restored")
HERE = ("moved", "returned")
NEWEST = 20
"""So many moves of the drain itself say how fast its others will be."""
LOOKED_AT = 500
"""Steps of the cloud, the newest, among which moves are looked for while the drain has none."""


def brief(drain: Drain, counts: dict[str, int]) -> DrainRecord:
    """A drain without its machines.

    :param counts: how many of them there are of each verdict, or status
    """
    return _record(drain, counts)


def show(turn: Turn, drain: Drain, machines: Sequence[DrainMachine]) -> DrainRecord:
    """A drain with its machines and estimates."""
    ids = [one.instance_id for one in machines]
    places = sa.select(Instance.id, Instance.host, Instance.disk_gb).where(Instance.id.in_(ids))
    rows = turn.session.execute(places).tuples().all()
    hosts, sizes = {key: host for key, host, _ in rows}, {key: gb * GIB for key, _, gb in rows}
    steps = _fetches(turn, [one.action_id for one in machines if one.action_id])
    loads = {
        one.instance_id: _load(turn, one, sizes.get(one.instance_id, 0), steps)
        for one in machines
        if _is_to_move(drain, one)
    }
    pace = _pace(turn, machines, sizes, list(loads.values())) if loads else Pace()
    times = {key: drain_estimate.remaining(load, pace) for key, load in loads.items()}
    shown = [
        MachineRecord(
            id=one.instance_id,
            name=one.name,
            how=one.how,
            target=one.target,
            status=one.status,
            verdict=one.verdict,
            reason=one.reason,
            host=hosts.get(one.instance_id),
            progress=_percent(one, hosts.get(one.instance_id), steps),
            seconds=_seconds(turn, one),
            estimate=_rounded(times.get(one.instance_id)),
        )
        for one in machines
    ]
    counts = Counter(one.verdict or one.status for one in machines)
    return _record(drain, dict(counts), shown, _rounded(_total(drain, loads, pace)))


def _fetches(turn: Turn, actions: Collection[str]) -> dict[str, Step]:
    """Action → the step that moves its disk."""
    query = sa.select(Step).where(Step.action_id.in_(actions), Step.kind == StepKind.FETCH)
    return {step.action_id: step for step in turn.all(query)} if actions else {}


def _percent(one: DrainMachine, host: str | None, steps: dict[str, Step]) -> int:
    if one.verdict in HERE or (one.status == "moving" and host is not None and host == one.target):
        return 100
    step = steps.get(one.action_id or "")
    return 100 * step.done // step.total if step is not None and step.total else 0


def _seconds(turn: Turn, one: DrainMachine) -> float | None:
    if one.begun_at is None:
        return None
    return round(((one.ended_at or turn.now) - one.begun_at).total_seconds(), 1)


# --- estimates


def _is_to_move(drain: Drain, one: DrainMachine) -> bool:
    if drain.status in ENDED or one.status == "done":
        return False
    if one.status == "moving":
        return True
    has_place = one.target is not None or one.reason is None
    return drain.status != "cancelling" and one.how != LEAVE and has_place


def _load(turn: Turn, one: DrainMachine, size: int, steps: dict[str, Step]) -> Load:
    step, copying = steps.get(one.action_id or ""), None
    if step is not None and step.started_at is not None and step.done and step.total:
        seconds = ((step.finished_at or turn.now) - step.started_at).total_seconds()
        copying = Copying(min(step.done / step.total, 1.0), seconds)
    return Load(one.instance_id, size, one.how, one.target, _seconds(turn, one), copying)


def _pace(
    turn: Turn, machines: Sequence[DrainMachine], sizes: dict[str, int], loads: Sequence[Load]
) -> Pace:
    ended = [one for one in machines if one.verdict in HERE and one.begun_at and one.ended_at]
    newest = sorted(ended, key=lambda one: str(one.ended_at))[-NEWEST:]
    finished = _own(turn, {one.instance_id: one for one in newest}, sizes)
    if not finished and not any(load.copying for load in loads):
        finished = _others(turn)
    return Pace.of(finished, loads)


def _own(turn: Turn, rows: dict[str, DrainMachine], sizes: dict[str, int]) -> list[Finished]:
    """Moves of the drain itself, with all that they took."""
    query = sa.select(Step.instance_id, Step.started_at, Step.finished_at).where(
        Step.instance_id.in_(rows), Step.kind == StepKind.FETCH, Step.status == "succeeded"
    )
    found = []
    for key, started, finished in turn.session.execute(query).tuples() if rows else ():
        row = rows[key]
        if started and finished and row.begun_at and row.ended_at and started >= row.begun_at:
            took = (row.ended_at - row.begun_at).total_seconds()
            copied = (finished - started).total_seconds()
            found.append(Finished(sizes.get(key, 0), row.how, copied, took))
    return found


def _others(turn: Turn) -> list[Finished]:
    """Moves of the cloud among its newest steps."""
    columns = (Step.kind, Step.instance_id, Step.started_at, Step.finished_at)
    query = sa.select(*columns).where(Step.status == "succeeded", Step.deadline.is_not(None))
    newest = query.order_by(Step.deadline.desc()).limit(LOOKED_AT).subquery()
    moves = (
        sa.select(newest.c.started_at, newest.c.finished_at, Instance.disk_gb)
        .join(Instance, Instance.id == newest.c.instance_id)
        .where(newest.c.kind == StepKind.FETCH)
    )
    return [
        Finished(gb * GIB, "off", (finished - started).total_seconds())
        for started, finished, gb in turn.session.execute(moves).tuples()
        if started and finished
    ]


def _total(drain: Drain, loads: dict[str, Load], pace: Pace) -> float | None:
    if drain.status in ENDED:
        return None
    per_target = None if drain.homeward else PER_TARGET
    return drain_estimate.until_all(list(loads.values()), pace, drain.max_parallel, per_target)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _record(
    drain: Drain, counts: dict[str, int], machines: Sequence[MachineRecord] = (),
    estimate: float | None = None,
) -> DrainRecord:  # fmt: skip
    fields: dict[str, Any] = {
        name: getattr(drain, name)
        for name in ("host", "status", "reason", "strategy", "max_parallel", "target_zone",
                     "exclude", "who", "homeward", "notes")
    }  # fmt: skip
    times = {
        name: iso(getattr(drain, name))
        for name in ("deadline", "created_at", "updated_at", "finished_at")
    }
    return DrainRecord(
        id=None if drain.status == "planned" else drain.id,
        counts=counts,
        machines=list(machines),
        estimate=estimate,
        **fields,
        **times,
    )
