"""Works on drains: one round for each, in any conductor, from what the ledger says.

A round decides by what is so now, and begins actions in the transaction that notes them; so
whatever crashes, the next round goes on from there, and no machine is moved twice. It is made of
short transactions, as each holds the rows of hosts on which it claims room, for which their
heartbeats wait.
"""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from conductor import drain_plan, drains, leftovers
from conductor.db.drains import Drain, DrainMachine
from conductor.db.models import Action, Host, Instance, Leftover, Step
from conductor.drain_moves import Course, Moves, Verdict
from conductor.drains import GOING_ON
from conductor.placement import is_on
from conductor.plan import LIVE, UNDONE
from conductor.turn import Turn, Turns
from paddock.actions import CLEANING
from paddock.errors import HostUnavailable, PaddockError, ServiceUnavailable

LOG = logging.getLogger(__name__)
SHARE = 0.5
"""Of an interval, in which no other conductor works on a drain again."""
RETRY = datetime.timedelta(seconds=5)
ABSENT = 3
"""So much longer is each pause while a host is away: half an hour in all for what is stopped."""
MOST = 50
"""Machines that get their verdicts in one round once a drain is over."""
BATCH = 4
"""Machines with which something is done in one transaction."""


@dataclass(frozen=True)
class Stage:
    """How far a round has come.

    :ivar ticked_at: when it last noted that it works on the drain; another has it from then on
        when it is not that any more
    :ivar gone_on: the ordinals of the machines that move and were looked at
    :ivar free: so many may begin still; None while those that move are looked at
    """

    ticked_at: datetime.datetime
    gone_on: int = -1
    free: int | None = None


class Drainer:
    """Rounds over all drains that go on.

    :param interval: seconds between rounds
    """

    def __init__(self, turns: Turns, interval: float) -> None:
        self._turns = turns
        self._rest = datetime.timedelta(seconds=SHARE * interval)

    def round(self) -> None:
        """Work on each drain once; one that cannot be worked on waits for the next round."""
        for drain_id in self._turns.read(_going_on):
            try:
                self._work_on(drain_id)
            except PaddockError as error:
                LOG.info("The drain %s waits: %s", drain_id, error.message)
            except Exception:
                LOG.exception("The drain %s cannot be worked on", drain_id)

    def _work_on(self, drain_id: str) -> None:
        stage = self._turns.run(partial(self._work, drain_id=drain_id, stage=None))
        while stage is not None:
            stage = self._turns.run(partial(self._work, drain_id=drain_id, stage=stage))

    def _work(self, turn: Turn, drain_id: str, stage: Stage | None) -> Stage | None:
        return turn.attempt(lambda: self._part_of_round(turn, drain_id, stage))

    def _part_of_round(self, turn: Turn, drain_id: str, stage: Stage | None) -> Stage | None:
        """The stage from which to go on; None when the round is over, or is another's."""
        drain = turn.get(Drain, drain_id)
        if drain is None or drain.status not in GOING_ON:
            return None
        if stage is None and turn.now < drain.ticked_at + self._rest:
            return None
        if stage is not None and stage.ticked_at != drain.ticked_at:
            return None
        as_read = {"id": drain.id, "status": drain.status, "ticked_at": drain.ticked_at}
        turn.must(Drain, as_read, ticked_at=turn.now)
        return _Round(turn, drain).work(stage or Stage(turn.now))


def _going_on(turn: Turn) -> list[str]:
    query = sa.select(Drain.id).where(Drain.status.in_(GOING_ON))
    return list(turn.session.scalars(query.order_by(Drain.id)))


class _Round:
    """A part of a round of one drain, in one transaction."""

    def __init__(self, turn: Turn, drain: Drain) -> None:
        self._turn = turn
        self._drain = drain
        self._course = Course.of(drain, turn.now)

    def work(self, stage: Stage) -> Stage | None:
        """Go on with what moves, begin what may begin, and end the drain when nothing is left.

        :return: what is to be done in the next transaction
        """
        if self._drain.status == "running" and stage.gone_on < 0 and stage.free is None:
            self._take_in()
        moving = self._rows("moving")
        moves = Moves(self._turn, self._drain, self._course, moving, self._instances(moving))
        done, free, gone_on = 0, stage.free, stage.gone_on
        if free is None:
            due = self._due(moving, gone_on)
            self._go_on(moves, due[:BATCH])
            if len(due) > BATCH:
                return Stage(self._turn.now, due[BATCH - 1][0].ordinal)
            done, free = len(due), self._free(moving)
        else:  # of which a pause meanwhile leaves nothing
            free = min(free, self._free(moving))
        left = self._begin(moves, free, BATCH - done)
        if left:
            return Stage(self._turn.now, gone_on, left)
        self._end()
        return None

    def _due(
        self, moving: list[DrainMachine], after: int
    ) -> list[tuple[DrainMachine, Action | None]]:
        """The machines with which something may be done, with the action that has ended.

        :param after: their ordinals are above this
        """
        actions = self._actions(moving)
        found = [(row, actions.get(row.action_id or "")) for row in moving if row.ordinal > after]
        return [(row, action) for row, action in found if not self._waits(row, action)]

    def _go_on(self, moves: Moves, due: list[tuple[DrainMachine, Action | None]]) -> None:
        for row, action in due:
            if action is not None:
                self._note_end(row, action)
            self._advance(moves, row)

    def _waits(self, row: DrainMachine, action: Action | None) -> bool:
        """Whether nothing is to be done with a machine now."""
        if action is not None:
            return action.status in LIVE
        return row.not_before is not None and self._turn.now < row.not_before

    def _free(self, moving: list[DrainMachine]) -> int:
        """How many may begin in this round; none while the drain is paused."""
        if self._drain.status == "paused":
            return 0
        if self._course.is_over:
            return MOST
        return max(self._drain.max_parallel - sum(row.status == "moving" for row in moving), 0)

    def _take_in(self) -> None:
        """Machines that came to the host since."""
        known = sa.select(DrainMachine.instance_id).where(DrainMachine.drain_id == self._drain.id)
        query = sa.select(Instance).where(is_on(self._drain.host), Instance.deleted.is_(False))
        new = self._turn.all(query.where(Instance.id.not_in(known)).order_by(Instance.id))
        host = self._turn.get(Host, self._drain.host) if new else None
        if host is None:
            return
        count = sa.select(sa.func.count()).where(DrainMachine.drain_id == self._drain.id)
        first = int(self._turn.session.scalar(count) or 0)
        planned = drain_plan.plan(self._turn, host, new, drains.rules_of(self._drain))
        for row in drains.machine_rows(self._drain, planned, first):
            self._turn.add(row)

    def _rows(self, status: str, limit: int | None = None) -> list[DrainMachine]:
        query = sa.select(DrainMachine).where(
            DrainMachine.drain_id == self._drain.id, DrainMachine.status == status
        )
        query = query.order_by(DrainMachine.ordinal)
        return self._turn.all(query if limit is None else query.limit(limit))

    def _actions(self, rows: list[DrainMachine]) -> dict[str, Action]:
        ids = [row.action_id for row in rows if row.action_id]
        query = sa.select(Action).where(Action.id.in_(ids))
        return {action.id: action for action in self._turn.all(query)}

    def _instances(self, rows: list[DrainMachine]) -> dict[str, Instance]:
        ids = [row.instance_id for row in rows]
        query = sa.select(Instance).where(Instance.id.in_(ids))
        return {one.id: one for one in self._turn.all(query)}

    def _note_end(self, row: DrainMachine, action: Action) -> None:
        if action.status == "succeeded":
            self._set(row, action_id=None)
        else:
            self._fail(row, action.reason or f"its {action.verb} was {action.status}")

    def _fail(self, row: DrainMachine, reason: str, pause: datetime.timedelta = RETRY) -> None:
        later = self._turn.now + pause
        self._set(row, action_id=None, tries=row.tries + 1, reason=reason, not_before=later)

    def _begin(self, moves: Moves, free: int, most: int) -> int:
        """Begin with some of those that wait; gives how many more may begin.

        :param free: how many may begin
        :param most: how many of these at once
        """
        wanted = min(free, most)
        rows = self._rows("planned", wanted) if wanted else []
        for row in rows:
            self._set(row, status="moving", begun_at=self._turn.now)
            self._advance(moves, row)
        return free - len(rows) if len(rows) == wanted else 0

    def _advance(self, moves: Moves, row: DrainMachine) -> None:
        """Do the next thing with a machine, which may be nothing."""
        if row.not_before is not None and self._turn.now < row.not_before:
            return
        try:
            done = self._turn.attempt(lambda: moves.next(row))
        except (HostUnavailable, ServiceUnavailable) as error:
            self._fail(row, error.message, RETRY * ABSENT**row.tries)
            return
        except PaddockError as error:
            moves.forget_hosts()
            self._fail(row, error.message)
            return
        if isinstance(done, Verdict):
            self._set(
                row, status="done", verdict=done.what, reason=done.reason, ended_at=self._turn.now
            )
            said = f"{done.what}: {done.reason}" if done.reason else done.what
            about = {"instance_id": row.instance_id}
            self._turn.tell(f"The drain of host {self._drain.host} has {said}", **about)
        elif done is not None:
            self._set(row, **done)

    def _set(self, row: DrainMachine, **values: object) -> None:
        key = {"drain_id": row.drain_id, "instance_id": row.instance_id}
        self._turn.must(DrainMachine, key, **values)
        row.__dict__.update(values)

    def _end(self) -> None:
        """A drain of which nothing is left to do has ended."""
        undone = sa.select(DrainMachine.drain_id).where(
            DrainMachine.drain_id == self._drain.id, DrainMachine.status != "done"
        )
        if self._turn.session.execute(undone.limit(1)).first() or self._is_awaited():
            return
        failed = sa.select(DrainMachine.drain_id).where(
            DrainMachine.drain_id == self._drain.id, DrainMachine.verdict == "failed"
        )
        is_failed = self._turn.session.execute(failed.limit(1)).first() is not None
        status = self._course.end(is_failed)
        self._turn.must(
            Drain, {"id": self._drain.id, "status": self._drain.status}, status=status,
            updated_at=self._turn.now, finished_at=self._turn.now,
        )  # fmt: skip
        if status == "cancelled" and self._drain.reopen:
            drains.open_again(self._turn, self._drain.host)
        self._turn.tell(f"The drain of host {self._drain.host} is {status}")

    def _is_awaited(self) -> bool:
        """Whether a machine may still come to the host that is to be empty, by what was accepted
        before."""
        if self._drain.homeward or self._course.is_over:
            return False
        coming = (Step.host == self._drain.host, Step.status.in_(UNDONE))
        undone = sa.select(Step.id).where(*coming, Step.kind.not_in(CLEANING)).exists()
        come = (Leftover.host == self._drain.host, Leftover.kind == leftovers.ARRIVAL)
        untold = sa.select(Leftover.id).where(*come).exists()
        return bool(self._turn.session.scalar(sa.select(sa.or_(undone, untold))))
