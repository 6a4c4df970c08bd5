"""What is forgotten with time, in batches: refusals, ended actions, tombstones, log-ins."""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from conductor.db.drains import Drain, DrainMachine
from conductor.db.models import Action, Base, Instance, Leftover, LogIn, Pause, Step
from conductor.drains import GOING_ON, HOLDER
from conductor.log_ins import forgotten
from conductor.plan import UNDONE
from conductor.turn import Turn

BATCH = 200
ENDED = ("succeeded", "failed", "superseded")
REFUSALS_KEPT = datetime.timedelta(days=1)


def purge(turn: Turn) -> bool:
    """Forget a batch of each kind.

    What an instance still points at stays: its live and its last action, by which observations
    are told apart. So do a tombstone that a leftover needs when its host comes back, and an action
    whose clean-up goes on.

    :return: whether there may be more
    """
    full = _drop(turn, Action, _refused(turn))
    full |= _purge_log_ins(turn)
    if turn.conf.retention_days:
        before = turn.now - datetime.timedelta(days=turn.conf.retention_days)
        full |= _purge_actions(turn, before)
        full |= _drop(turn, Instance, _tombstones(before))
        full |= _purge_drains(turn, before)
    return full


def _refused(turn: Turn) -> sa.Select[tuple[str]]:
    before = turn.now - REFUSALS_KEPT
    return sa.select(Action.id).where(Action.status == "refused", Action.finished_at < before)


def _purge_log_ins(turn: Turn) -> bool:
    query = sa.select(LogIn.who, LogIn.address).where(forgotten(turn.now)).limit(BATCH)
    pairs = turn.session.execute(query).tuples().all()
    for who, address in pairs:
        turn.drop(LogIn, LogIn.who == who, LogIn.address == address, forgotten(turn.now))
    return len(pairs) == BATCH


def _purge_actions(turn: Turn, before: datetime.datetime) -> bool:
    needed = sa.select(Instance.id).where(
        Instance.id == Action.instance_id,
        Instance.deleted.is_(False),
        sa.or_(Instance.last_action == Action.id, Instance.busy == Action.id),
    )
    undone = sa.select(Step.id).where(Step.action_id == Action.id, Step.status.in_(UNDONE))
    query = sa.select(Action.id).where(
        Action.status.in_(ENDED),
        Action.finished_at < before,
        ~needed.exists(),
        ~undone.exists(),
    )
    ids = list(turn.session.scalars(query.order_by(Action.finished_at).limit(BATCH)))
    if ids:
        turn.drop(Step, Step.action_id.in_(ids))
        turn.drop(Action, Action.id.in_(ids))
    return len(ids) == BATCH


def _purge_drains(turn: Turn, before: datetime.datetime) -> bool:
    closed = sa.select(Pause.host).where(Pause.host == Drain.host, Pause.holder == HOLDER)
    over = (Drain.finished_at < before, Drain.status.not_in(GOING_ON), ~closed.exists())
    query = sa.select(Drain.id).where(*over)
    ids = list(turn.session.scalars(query.limit(BATCH)))
    if ids:
        turn.drop(DrainMachine, DrainMachine.drain_id.in_(ids))
        turn.drop(Drain, Drain.id.in_(ids))
    return len(ids) == BATCH


def _tombstones(before: datetime.datetime) -> sa.Select[tuple[str]]:
    left = sa.select(Leftover.id).where(Leftover.instance_id == Instance.id)
    acted = sa.select(Action.id).where(Action.instance_id == Instance.id)
    return sa.select(Instance.id).where(
        Instance.deleted.is_(True),
        Instance.terminated_at < before,
        ~left.exists(),
        ~acted.exists(),
    )


def _drop(turn: Turn, kind: type[Base], query: sa.Select[tuple[str]]) -> bool:
    ids = list(turn.session.scalars(query.limit(BATCH)))
    if ids:
        turn.drop(kind, sa.inspect(kind).primary_key[0].in_(ids))
    return len(ids) == BATCH
