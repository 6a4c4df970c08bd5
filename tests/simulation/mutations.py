"""The rules of the design's §3, each broken at run time: the simulation must notice.

``python -m tests.simulation.search`` looks for other seeds where those here no longer notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

import compute_agent.lease
import compute_agent.slots
import conductor.begin
import conductor.checks
import conductor.deletion
import conductor.finish
import conductor.judgement
import conductor.observations
import conductor.power_on
import conductor.reaper
import conductor.start
from tests.simulation import agent_patches as a
from tests.simulation import patches as p
from tests.simulation.patches import Patch


@dataclass(frozen=True)
class Mutation:
    """A rule, and what the product is without it.

    :ivar seed: of a schedule that notices
    """

    name: str
    rule: str
    patches: Callable[[], list[Patch]]
    seed: int

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product without the rule, in this process."""
        made = self.patches()
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in made]
        for owner, name, value in made:
            setattr(owner, name, value)
        try:
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


LEASE, SLOTS = compute_agent.lease.Lease, compute_agent.slots.Slots
MUTATIONS = (
    # --- accept
    Mutation("accept while busy", "accept: busy is checked and named in the UPDATE",
             p.one(conductor.checks, "_idle", p.nothing), 0),
    Mutation("accept forgets", "accept: a known action id gets the answer it got",
             p.unknown_actions, 9),
    # --- start
    Mutation("start by an old process", "start: the epoch is the host's newest",
             p.one(conductor.start, "speaking", p.anybody), 200),
    Mutation("any attempt starts", "start: only if the row names this attempt",
             p.any_attempt_starts, 589),
    Mutation("start on a silent host", "start: the host is up", p.start_anywhere, 113),
    Mutation("late starts", "start: the deadline has not passed", p.late_starts, 15),
    Mutation("start before the slot", "the slot is taken before start is sent", a.no_slot, 248),
    # --- worker
    Mutation("blind reboots", "doing a step again is harmless", a.blind_reboots, 2322),
    Mutation("launch without a lease", "the lease is checked right before the launch",
             p.one(LEASE, "may_launch", p.nothing), 92),
    Mutation("open at once", "after a lapse nothing starts until the host has reconciled",
             a.never_reconciled, 10),
    Mutation("lease from the answer", "the lease runs from the sending of the last answered "
             "heartbeat", a.lease_from_answer, 99),
    # --- finish
    Mutation("finish by an old process", "finish: the epoch is the host's newest",
             p.one(conductor.finish, "speaking", p.anybody), 302),
    Mutation("finish forgets", "finish is idempotent",
             p.one(conductor.finish, "_is_recorded", lambda *_: False), 50),
    Mutation("any outcome", "finish: only while the step runs", p.any_outcome, 248),
    Mutation("outcome of another attempt", "finish: only while that attempt runs",
             p.outcome_of_another, 3307),
    Mutation("launch as last action", "an agent that lost its files knows no last action",
             a.launch_as_last, 210086),
    Mutation("late outcomes unseen", "a finish that comes too late is applied as an observation",
             p.one(conductor.observations, "observe_late", lambda *_: False), 57),
    Mutation("old looks count", "an observation changes nothing after a later action",
             p.one(conductor.observations, "_is_last", lambda _: sa.true()), 103),
    # --- heartbeat
    Mutation("heartbeats of an old process", "heartbeat: older epochs are refused",
             p.old_beats, 302),
    Mutation("lost hints stay lost", "the agent takes on accepted steps that it does not hold",
             a.unhealed("accepted"), 415),
    Mutation("nothing handed back", "the agent hands back running steps that it does not hold",
             a.unhealed("running"), 205),
    Mutation("hand back blindly", "hand_back is compare-and-set", p.handed_back_blindly, 795),
    Mutation("no cancel", "workers whose step is no longer listed are cancelled",
             a.deaf_cancel, 1631),
    Mutation("hasty cancel", "answers to heartbeats sent before a step's start do not count",
             a.hasty_cancel, 619),
    Mutation("hello by anyone", "hello is compare-and-set", p.hello_by_anyone, 1151),
    Mutation("hello by any machine", "a host name is bound to one machine id",
             p.hello_by_any_machine, 196),
    # --- reaper
    Mutation("creates wait for the dead", "a create goes to another host when its own is dead",
             p.one(conductor.reaper.Reaper, "_reroute", p.nothing), 565),
    Mutation("running steps rerouted", "a step that is running stays with its host",
             p.running_rerouted, 137),
    Mutation("overdue ones go on", "any step past its deadline fails",
             p.one(conductor.reaper.Reaper, "_end_overdue", p.nothing), 15),
    Mutation("time for each attempt", "issuing a step again moves no deadline",
             p.time_for_each, 205),
    Mutation("any progress", "progress moves a deadline only when bytes grew", p.any_progress, 631),
    Mutation("no hard limit", "progress moves a deadline up to a hard limit",
             p.no_hard_limit, 1012),
    Mutation("endless attempts", "at most 3 attempts", p.endless_attempts, 536),
    Mutation("no fence after a lost launch", "after an overdue launch the instance may run "
             "nowhere else until its host has reported", p.kinds_unleft("guest"), 92),
    # --- delete
    Mutation("shy deletes", "delete supersedes the live action", p.shy_deletes, 5),
    Mutation("patient deletes", "delete does not wait for the slot", a.patient_deletes, 532),
    Mutation("no bars", "delete bars further launches on the agent",
             p.one(SLOTS, "is_barred", lambda *_: False), 527),
    Mutation("deletes wait for the dead", "on a dead host delete ends at once",
             p.one(conductor.deletion, "is_dead", lambda host: host is None), 135),
    Mutation("deleted ones forgotten", "a delete on a dead host leaves a leftover",
             p.kinds_unleft("instance"), 178),
    Mutation("no tombstones", "a deleted instance stays as a tombstone", p.no_tombstones, 1),
    Mutation("addresses free at once", "addresses are quarantined until the host has reconciled",
             p.one(conductor.deletion, "_suspect", lambda *_: None), 178),
    Mutation("deletions taken back", "reset-state cannot take back a deletion",
             p.one(conductor.begin, "_check_not_deleted", p.nothing), 27),
    # --- verdicts
    Mutation("judged without proof", "a conductor judges only while its own path is proven",
             p.one(conductor.judgement.Proof, "holds", lambda *_: True), 101),
    Mutation("judged in masses", "of many hosts that fall silent at once none is judged",
             p.one(conductor.judgement, "_is_mass", lambda *_: False), 39),
    Mutation("up at once", "a host that was judged dead is up only when it has reconciled",
             p.up_at_once, 135),
    # --- reconcile
    Mutation("busy ones judged", "reconcile touches nothing of an instance with a live action",
             p.busy_judged, 181),
    Mutation("workers unseen", "nothing is settled of an instance that is worked on",
             a.workers_unseen, 2959),
    Mutation("bold reconciler", "a removal takes the instance's slot",
             p.one(SLOTS, "take", lambda *_: True), 116),
    Mutation("all generations removed", "a removal touches only older generations",
             a.all_removed, 116),
    Mutation("judged once", "what stays beside an old copy is judged when that is gone",
             p.judged_once, 20539),
    Mutation("wrong keeper", "who keeps the machine is one table", p.wrong_keeper, 129),
    Mutation("wrong live keeper", "a machine that was handed over is the target's",
             p.wrong_live_keeper, 197),
    Mutation("stopped for good", "a drain starts what it stopped", p.stopped_for_good, 181),
    Mutation("copies forgotten", "what cannot be undone now is a leftover",
             p.kinds_unleft("disk"), 129),
    Mutation("leftovers bar nobody", "a host with leftovers cannot receive the instance",
             p.one(conductor.power_on, "barred", lambda *_: frozenset()), 363),
)  # fmt: skip
