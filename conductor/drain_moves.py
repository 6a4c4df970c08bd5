"""What comes next for a machine of a drain, by what is so now: stop, move, start, or a verdict.

A machine that runs keeps its room at home until it has arrived, so one that cannot be moved can
always be started again where it was.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from conductor import drain_plan, drains, live, migration
from conductor.begin import begin
from conductor.checks import Case, examine
from conductor.db.drains import Drain, DrainMachine
from conductor.db.models import Host, Instance, Step
from conductor.packing import left_of
from conductor.placement import barred, candidates, is_up
from conductor.routing import Candidate, Wish, route
from conductor.turn import Turn
from paddock.actions import ACTIONS, VmState
from paddock.context import RequestContext
from paddock.errors import HostUnavailable, NoValidHost
from paddock.records import AcceptRequest

TRIES = 3
"""How often a machine is tried to be moved; and then as often to be started where it is."""
CANCELLED, LATE = "the drain was cancelled", "the drain's time was over"


@dataclass(frozen=True)
class Verdict:
    """What became of a machine; ``reason`` says why it is not what was wanted."""

    what: str
    reason: str | None = None


@dataclass(frozen=True)
class Course:
    """Where a drain is going.

    :ivar homeward: to its host rather than away from it
    :ivar over: why no further machine may leave; None while they may
    """

    host: str
    homeward: bool
    over: str | None

    @classmethod
    def of(cls, drain: Drain, now: datetime.datetime) -> Course:
        """The course of a drain at a moment."""
        over = CANCELLED if drain.status == "cancelling" else None
        if over is None and drain.deadline is not None and drain.deadline <= now:
            over = LATE
        return cls(drain.host, drain.homeward, over)

    @property
    def is_over(self) -> bool:
        """Whether what has not begun stays."""
        return self.over is not None

    def has_arrived(self, instance: Instance) -> bool:
        """Whether a machine is where it is to be."""
        homes = (instance.host, instance.disk_host)
        return homes == (self.host, self.host) if self.homeward else self.host not in homes

    def end(self, is_failed: bool) -> str:
        """The status of a drain of which nothing is left to do."""
        if self.over == CANCELLED:
            return "cancelled"
        if is_failed:
            return "failed"
        return "restored" if self.homeward else "completed"


class Moves:
    """Begins the actions of one round of a drain.

    :param moving: machines that were begun with before
    """

    def __init__(
        self, turn: Turn, drain: Drain, course: Course, moving: Iterable[DrainMachine],
        instances: Mapping[str, Instance],
    ) -> None:  # fmt: skip
        self._turn = turn
        self._drain = drain
        self._course = course
        self._targets = {
            row.instance_id: row.target for row in moving
            if row.target and (row.action_id or row.ran)
        }  # fmt: skip
        self._stopping = [
            (row.target, instances[row.instance_id])
            for row in moving
            if row.target and row.instance_id in self._targets and row.instance_id in instances
            and not course.has_arrived(instances[row.instance_id])
        ]  # fmt: skip
        self._hosts: list[Candidate] | None = None

    def next(self, row: DrainMachine) -> Verdict | dict[str, Any] | None:
        """Do what comes next for a machine.

        :return: its verdict, or changes to its row; None to wait
        :raises PaddockError: it cannot be done now
        """
        instance = self._turn.get(Instance, row.instance_id)
        if instance is None or instance.deleted:
            return Verdict("gone")
        if instance.busy is not None:
            return None
        if live.is_unknown(self._turn, instance):
            ends = self._course.is_over and not row.ran
            return Verdict("left", "it is not known yet whether it has moved") if ends else None
        if self._course.has_arrived(instance):
            return self._settle(row, instance)
        reason = self._course.over or (row.reason if row.tries >= TRIES else None)
        if reason is not None:
            return self._give_up(row, instance, reason)
        reason = drain_plan.why_left(instance, drains.rules_of(self._drain))
        if reason is not None:
            return self._give_up(row, instance, reason)
        return self._move(row, instance)

    def _settle(self, row: DrainMachine, instance: Instance) -> Verdict | dict[str, Any]:
        """It is where it is to be: it runs if it ran before."""
        if not _is_to_start(row, instance):
            return Verdict("returned" if self._course.homeward else "moved")
        if row.tries >= 2 * TRIES:
            return Verdict("failed", f"it was moved, and does not start: {row.reason}")
        return self._begin(instance, "os-start", {})

    def _give_up(
        self, row: DrainMachine, instance: Instance, reason: str
    ) -> Verdict | dict[str, Any]:
        """It stays where it is; what was stopped for the move is started again.

        :raises HostUnavailable: what became of its stop is not known yet
        """
        if row.ran and instance.vm_state != VmState.STOPPED and row.tries < 2 * TRIES:
            self._check_home(instance)
        if not _is_to_start(row, instance):
            is_failed = row.tries >= TRIES or reason == LATE
            return Verdict("failed" if is_failed else "left", reason)
        if row.tries >= 2 * TRIES:
            return Verdict("failed", f"it is stopped where it was: {row.reason}")
        return self._begin(instance, "os-start", {})

    def _check_home(self, instance: Instance) -> None:
        host = self._turn.get(Host, str(instance.host))
        if host is None or not is_up(host):
            raise HostUnavailable(f"host {instance.host} is not up")

    def _move(self, row: DrainMachine, instance: Instance) -> dict[str, Any] | None:
        target = self._target(row, instance)
        if target is None:
            return None
        self._targets[instance.id] = target
        if instance.vm_state in drain_plan.STILL:
            begun = self._begin(instance, migration.VERB, {"host": target})
            self._fill(target, instance)
            return begun | {"target": target}
        self._stopping.append((target, instance))
        return self._begin(instance, "os-stop", {}) | {"target": target, "ran": True}

    def _target(self, row: DrainMachine, instance: Instance) -> str | None:
        """The host that it is to go to, the planned one if that has room; None to wait for one to
        which so many come already.

        :raises NoValidHost: none has room
        """
        found = route(self._wish(instance), self._room(instance))
        if not found.hosts:
            raise NoValidHost(f"no host can take it: {found.why()}")
        coming = Counter(host for key, host in self._targets.items() if key != instance.id)
        free = [
            name
            for name in found.hosts
            if self._course.homeward or coming[name] < drain_plan.PER_TARGET
        ]
        if row.target in free:
            return row.target
        return free[0] if free else None

    def _wish(self, instance: Instance) -> Wish:
        bars = barred(self._turn, instance.id)
        if self._course.homeward:
            return migration.wish_of(instance, None, self._drain.host, bars)
        return migration.wish_of(instance, self._drain.target_zone or instance.zone, None, bars)

    def _room(self, instance: Instance) -> list[Candidate]:
        """The hosts without the room that those need which were stopped to go there."""
        if self._hosts is None:
            self._hosts = candidates(self._turn)
        taken = {one.name: one for one in self._hosts}
        for name, other in self._stopping:
            if other.id != instance.id and other.vm_state == VmState.ACTIVE and name in taken:
                taken[name] = replace(
                    taken[name],
                    free_vcpus=taken[name].free_vcpus - other.vcpus,
                    free_memory_mb=taken[name].free_memory_mb - other.memory_mb,
                    free_disk_gb=taken[name].free_disk_gb - other.disk_gb,
                )
        return list(taken.values())

    def forget_hosts(self) -> None:
        """What was read of the hosts is no longer so."""
        self._hosts = None

    def _fill(self, target: str, instance: Instance) -> None:
        """A host has less room now; what was read of the others still serves, as claims are
        checked once more when they are made."""
        wish = self._wish(instance)
        self._hosts = [
            left_of(one, wish) if one.name == target else one for one in self._hosts or []
        ]

    def _begin(self, instance: Instance, verb: str, params: dict[str, Any]) -> dict[str, Any]:
        """Accept an action of the cloud's own; gives the changes that note it."""
        action_id = self._turn.new_id()
        case = Case(
            turn=self._turn,
            ctxt=RequestContext(
                request_id=f"req-{action_id}", user_id=self._drain.user_id,
                project_id=instance.project_id,
            ),
            request=AcceptRequest(
                action_id=action_id, instance_id=instance.id, verb=verb,
                params={**params, "drain": self._drain.id},
            ),
            action=ACTIONS[verb],
            instance=instance,
            host=self._turn.get(Host, str(instance.host)),
            passes_lock=verb == "os-start",  # of what the drain stopped
            passes_pause=True,
        )  # fmt: skip
        ticket = begin(examine(case))
        if ticket.step_id is not None:
            self._hint(ticket.step_id)
        return {"action_id": action_id}

    def _hint(self, step_id: str) -> None:
        step = self._turn.get(Step, step_id)
        if step is not None:
            self._turn.hint(step)


def _is_to_start(row: DrainMachine, instance: Instance) -> bool:
    return row.ran and instance.vm_state == VmState.STOPPED
