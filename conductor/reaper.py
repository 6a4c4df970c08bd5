"""The reaper: one round of everything that must happen though nobody asks for it.

Any number of conductors run it; rows are claimed by compare-and-set, and each row is handled in a
transaction of its own, so that one bad row stops no other.
"""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import bindparam, or_, select

from conductor import addresses, ending, fencing, leftovers, queries, rerouting, retention
from conductor.db.models import Host, Instance, Leftover, Port, Step
from conductor.judgement import Alarm, Proof, is_someone_overdue, judge
from conductor.pings import Pinger
from conductor.placement import dead, is_dead
from conductor.plan import LIVE
from conductor.turn import Turn, Turns
from paddock.actions import CLEANING
from paddock.errors import PaddockError

LOG = logging.getLogger(__name__)
BATCH = 200
PURGE_INTERVAL = datetime.timedelta(minutes=1)


class Reaper:
    """Judges hosts, ends what is overdue, and says again what may not have been heard.

    :param proof: whether this conductor may judge
    """

    def __init__(self, turns: Turns, proof: Proof, pinger: Pinger) -> None:
        self._turns = turns
        self._proof = proof
        self._pinger = pinger
        self._alarm = Alarm()
        self._purged: datetime.datetime | None = None

    def round(self) -> None:
        """Do all of it once; a part that fails is logged and tried again in the next round."""
        self._try(self._judge)
        self._try(self._tend)
        self._try(self._pinger.round)

    def _tend(self) -> None:
        """One query tells an idle conductor that there is nothing to do."""
        now, steps, remains = self._turns.read(_look)
        if steps:
            self._try(self._end_overdue)
            self._try(self._clear_dead_hosts)
            self._try(self._reroute)
            self._try(lambda: self._turns.run(_hint_again))
        if remains:
            self._try(self._settle_fenced)
            self._try(lambda: self._turns.run(_order_reconcile))
            self._try(lambda: self._turns.run(_forget_hosts))
        if self._purged is None or now - self._purged >= PURGE_INTERVAL:
            more = self._turns.run(_purge)
            self._purged = None if more else now

    def _try(self, part: Callable[[], object]) -> None:
        try:
            part()
        except PaddockError as error:
            LOG.warning("The reaper's round is not complete: %s", error.message)
        except Exception:  # such as a row that only another release understands
            LOG.exception("A part of the reaper's round failed")

    def _judge(self) -> None:
        proven = self._proof.holds(self._turns.read(lambda turn: turn.now))
        if proven:
            overdue = self._turns.read(is_someone_overdue)
            self._alarm.note(self._turns.run(judge) if overdue else [])

    def _end_overdue(self) -> None:
        """Any step past its deadline fails, accepted or running, whatever its host is."""
        for step_id in self._ids(_overdue()):
            self._end(step_id, _is_overdue, "It was not done within its time.")

    def _clear_dead_hosts(self) -> None:
        """Nobody waits for a dead host to clean up: deletes end now."""
        for step_id in self._ids(_cleaning_on_dead()):
            self._end(step_id, _is_on_dead, "Its host is dead.")

    def _end(self, step_id: str, still: Callable[[Turn, Step], bool], reason: str) -> None:
        def end(turn: Turn) -> None:
            step = turn.get(Step, step_id)
            if step is not None and step.status in LIVE and still(turn, step):
                ending.fail(turn, step, reason, None)

        self._each(end)

    def _reroute(self) -> None:
        steps = self._turns.read(
            lambda turn: [step.id for step in rerouting.waiting_on_dead(turn, BATCH)]
        )
        for step_id in steps:
            self._each(lambda turn, key=step_id: _reroute_one(turn, key))  # type: ignore[misc]

    def _settle_fenced(self) -> None:
        for leftover_id in self._turns.read(fencing.settleable):
            self._each(lambda turn, key=leftover_id: fencing.settle(turn, key))  # type: ignore[misc]

    def _ids(self, query: sa.Select[tuple[str]]) -> list[str]:
        return self._turns.read(lambda turn: list(turn.session.scalars(query, {"now": turn.now})))

    def _each(self, fn: Callable[[Turn], object]) -> None:
        try:
            self._turns.run(lambda turn: turn.attempt(lambda: fn(turn)))
        except PaddockError as error:
            LOG.info("The reaper leaves a row for the next round: %s", error.message)
        except Exception:
            LOG.exception("The reaper cannot handle a row")


def _look(turn: Turn) -> tuple[datetime.datetime, bool, bool]:
    """The time, whether a step is live, and whether something remains to be settled."""
    found = turn.session.execute(_anything()).one()
    return turn.now, bool(found[0]), bool(found[1])


@functools.cache
def _anything() -> sa.Select[tuple[bool, bool]]:
    steps = select(Step.id).where(Step.status.in_(LIVE)).exists()
    left = select(Leftover.id).exists()
    addresses_wait = select(Port.id).where(Port.quarantine_host.is_not(None)).exists()
    return select(steps, or_(left, addresses_wait))


@functools.cache
def _overdue() -> sa.Select[tuple[str]]:
    return _live_steps(Step.deadline < bindparam("now", type_=Step.deadline.type))


@functools.cache
def _cleaning_on_dead() -> sa.Select[tuple[str]]:
    on_dead = Step.host.in_(select(Host.name).where(dead()))
    return _live_steps(Step.kind.in_(CLEANING), on_dead)


def _live_steps(*facts: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
    live = select(Step.id).where(Step.status.in_(LIVE), *facts)
    return live.order_by(Step.deadline).limit(BATCH)


def _is_overdue(turn: Turn, step: Step) -> bool:
    return step.deadline is not None and step.deadline < turn.now


def _is_on_dead(turn: Turn, step: Step) -> bool:
    return is_dead(turn.get(Host, step.host))


def _reroute_one(turn: Turn, step_id: str) -> None:
    step = turn.get(Step, step_id)
    if step is None or step.status != "accepted" or step.started_at or not _is_on_dead(turn, step):
        return
    rerouting.reroute(turn, step)


def _hint_again(turn: Turn) -> None:
    """Hint steps that were accepted a while ago, once for all conductors."""
    before = turn.now - datetime.timedelta(seconds=turn.conf.hint_again)
    for step in turn.all(_unheard(), before=before):
        same = {"id": step.id, "status": "accepted", "hinted_at": step.hinted_at}
        if turn.change(Step, same, hinted_at=turn.now):
            turn.hint(step)


@functools.cache
def _unheard() -> sa.Select[tuple[Step]]:
    before = bindparam("before", type_=Step.hinted_at.type)
    return (
        select(Step)
        .join(Host, Host.name == Step.host)
        .where(Step.status == "accepted", Step.hinted_at < before, Host.state == "up")
        .order_by(Step.id)
        .limit(BATCH)
    )


def _order_reconcile(turn: Turn) -> None:
    """Hosts with leftovers of idle instances reconcile until those are settled."""
    idle = sa.select(Instance.id).where(Instance.busy.is_(None))
    waiting = sa.select(Leftover.host).where(Leftover.instance_id.in_(idle))
    turn.change(
        Host, Host.name.in_(waiting), Host.reconcile.is_(False), Host.state == "up",
        reconcile=True,
    )  # fmt: skip


def _purge(turn: Turn) -> bool:
    """Forget what is old; gives whether there may be more."""
    queries.purge(turn)
    return retention.purge(turn)


def _forget_hosts(turn: Turn) -> None:
    """Forget what waits for hosts that were removed or fenced."""
    hosts = sa.select(Host.name)
    turn.drop(
        Leftover,
        Leftover.kind.not_in(leftovers.UNDECIDED),
        Leftover.host.not_in(hosts),
    )
    fenced = hosts.where(Host.forced_down.is_(True))
    query = sa.select(Port.quarantine_host).where(Port.quarantine_host.is_not(None))
    over = sa.or_(Port.quarantine_host.in_(fenced), Port.quarantine_host.not_in(hosts))
    for host in turn.session.scalars(query.where(over).distinct()):
        addresses.end_quarantine(turn, str(host))
