"""``paddock-manage check``: the ledger's invariants, and whether hosts and ledger agree."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from conductor import inventory
from conductor.db.models import Claim, Host, Instance, Project, Step
from conductor.db.session import Database
from conductor.invariants import violations
from conductor.plan import LIVE
from conductor.turn import Turn, Turns
from paddock.errors import PaddockError

POLL_SECONDS = 0.2
PATIENCE = datetime.timedelta(minutes=1)


class Checkup:
    """Looks a live cloud over.

    :param wait: seconds that hosts have to answer, 0 to look at the ledger only
    :param pause: lets so many seconds pass
    """

    def __init__(
        self,
        database: Database,
        turns: Turns,
        wait: float,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._database = database
        self._turns = turns
        self._wait = wait
        self._pause = pause
        self._odd: set[str] = set()

    def look(self) -> list[str]:
        """A sentence for each thing that is wrong, and for each host that did not answer."""
        found = [*self._database.snapshot(violations), *self._turns.read(overdue)]
        if not self._wait:
            return found
        silent, told = self._ask()
        if told:  # what is found twice did not just change
            again, twice = self._ask()
            silent |= again
            told &= twice
        self._odd = {host for host, _ in told}
        return [*found, *sorted(silent), *sorted(sentence for _, sentence in told)]

    def _ask(self) -> tuple[set[str], set[tuple[str, str]]]:
        """Sentences on hosts that said nothing, and (host, sentence) on what they have."""
        self._turns.run(inventory.ask)
        end = time.monotonic() + self._wait
        said = self._database.read(inventory.answers)
        while None in said.values() and time.monotonic() < end:
            self._pause(POLL_SECONDS)
            said = self._database.read(inventory.answers)
        given = {host: one for host, one in said.items() if isinstance(one, list)}
        told = self._database.snapshot(lambda session: set(inventory.compare(session, given)))
        failed = {host: one for host, one in said.items() if not isinstance(one, list)}
        return {self._say(host, one) for host, one in failed.items()}, told

    def _say(self, host: str, error: PaddockError | None) -> str:
        if error is None:
            return f"host {host} did not answer within {self._wait:g} s"
        return f"host {host} cannot say what it has: {error.message}"

    def repair(self) -> list[str]:
        """Do what is safe: count anew what is claimed, and have hosts that differ reconcile.

        :return: a sentence for each thing that was done
        """
        done = self._turns.run(count_anew)
        self._turns.run(lambda turn: inventory.reconcile(turn, self._odd))
        return [*done, *(f"Host {host} was ordered to reconcile." for host in sorted(self._odd))]


def overdue(turn: Turn) -> list[str]:
    """A sentence for each step that should have ended long ago, by any conductor's reaper."""
    late = Step.deadline < turn.now - PATIENCE
    query = sa.select(Step.id, Step.action_id).where(Step.status.in_(LIVE), late)
    rows = turn.session.execute(query.order_by(Step.id)).tuples()
    return [f"step {step} of action {action} is past its deadline for more than a minute"
            for step, action in rows]  # fmt: skip


def count_anew(turn: Turn) -> list[str]:
    """Set the counters of hosts and projects to the sums of what they count.

    Their rows are held first, so that nobody is half way: a sum that is made while a row is waited
    for would miss what its holder has just written.
    """
    turn.change(Host, sa.true(), claimed_vcpus=Host.claimed_vcpus)
    turn.change(Project, sa.true(), used_cores=Project.used_cores)
    mine = sa.and_(Instance.project_id == Project.id, Instance.deleted.is_(False))
    hosts = {
        f"claimed_{name}": _sum(getattr(Claim, name), Claim.host == Host.name)
        for name in ("vcpus", "memory_mb", "disk_gb")
    }
    projects = {
        "used_instances": _sum(sa.literal(1), mine),
        "used_cores": _sum(Instance.vcpus, mine),
        "used_memory_mb": _sum(Instance.memory_mb, mine),
    }
    changed = turn.change(Host, _differs(Host, hosts), **hosts)
    changed += turn.change(Project, _differs(Project, projects), **projects)
    return [f"{changed} hosts and projects were counted anew."] if changed else []


def _sum(what: Any, where: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.coalesce(sa.func.sum(what), 0)).where(where).scalar_subquery()


def _differs(
    kind: type[Host] | type[Project], sums: dict[str, sa.ScalarSelect[int]]
) -> sa.ColumnElement[bool]:
    return sa.or_(*(getattr(kind, name) != number for name, number in sums.items()))
