"""The rules of the design's §3, each broken at run time: the simulation must notice.

``python -m tests.simulation.search`` looks for the seeds that kill those which have none yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

import compute_agent.heartbeat
import compute_agent.lease
import compute_agent.performer
import compute_agent.reconcile
import compute_agent.runner
import compute_agent.slots
import conductor.accept
import conductor.begin
import conductor.checks
import conductor.deletion
import conductor.ending
import conductor.finish
import conductor.giving_up
import conductor.judgement
import conductor.liveness
import conductor.observations
import conductor.power_on
import conductor.reaper
import conductor.reconcile
import conductor.start
from conductor import leftovers
from conductor.db.models import Action, Host, Instance, Step
from conductor.turn import Turn

Patch = tuple[Any, str, Any]


@dataclass(frozen=True)
class Mutation:
    """A rule, and what the product is without it.

    :ivar seed: of a schedule that notices; None when none does
    :ivar why: then, why
    """

    name: str
    rule: str
    patches: Callable[[], list[Patch]]
    seed: int | None
    why: str = ""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product without the rule, in this process."""
        patches = self.patches()
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
        for owner, name, value in patches:
            setattr(owner, name, value)
        try:
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


def _nothing(*_: Any, **__: Any) -> None:
    """What a rule does that is not there."""


def _anybody(turn: Turn, host: str, _epoch: str) -> Any:
    return turn.get(Host, host)


def _old_beats() -> list[Patch]:
    original = conductor.liveness.heartbeat

    def heartbeat(turn: Turn, beat: Any, *rest: Any) -> Any:
        host = turn.get(Host, beat.host)
        return original(turn, msgspec.structs.replace(beat, epoch=host.epoch), *rest)  # type: ignore[union-attr]

    return [(conductor.liveness, "heartbeat", heartbeat)]


def _any_attempt_starts() -> list[Patch]:
    original = conductor.start.start

    def start(turn: Turn, ref: Any) -> Any:
        step = turn.get(Step, ref.step_id)
        attempt = step.attempt if step else ref.attempt
        return original(turn, msgspec.structs.replace(ref, attempt=attempt))

    return [(conductor.start, "start", start)]


def _late_starts() -> list[Patch]:
    original = conductor.start._check_start

    def check(turn: Turn, host: Host, step: Step, instance: Instance) -> None:
        class Timeless:
            def __getattr__(self, name: str) -> Any:
                return getattr(step, name)

            deadline = turn.now.replace(year=9000)

        original(turn, host, Timeless(), instance)  # type: ignore[arg-type]

    return [(conductor.start, "_check_start", check)]


def _handed_back_blindly() -> list[Patch]:
    original = conductor.start.hand_back

    def hand_back(turn: Turn, ref: Any, recorded: str | None) -> bool:
        step = turn.get(Step, ref.step_id)
        if step is None or step.status != "running":
            return original(turn, ref, recorded)
        return original(turn, msgspec.structs.replace(ref, attempt=step.attempt), step.epoch)

    return [(conductor.start, "hand_back", hand_back)]


def _running_rerouted() -> list[Patch]:
    original = conductor.reaper.rerouting.waiting_on_dead

    def waiting(turn: Turn, limit: int) -> list[Step]:
        from conductor.placement import is_dead

        for step in turn.all(conductor.reaper.sa.select(Step).where(Step.status == "running")):
            if is_dead(turn.get(Host, step.host)):
                turn.change(Step, Step.id == step.id, status="accepted", started_at=None)
        return original(turn, limit)

    return [(conductor.reaper.rerouting, "waiting_on_dead", waiting)]


def _busy_judged() -> list[Patch]:
    original = conductor.reconcile._judge

    def judge(turn: Turn, host: Host, instance_id: str, thing: Any, *rest: Any) -> Any:
        instance = turn.get(Instance, instance_id)
        if instance is not None and instance.busy and not instance.deleted:
            return conductor.reconcile._judge_idle(turn, host, instance, thing, *rest)
        return original(turn, host, instance_id, thing, *rest)

    return [
        (conductor.reconcile, "_judge", judge),
        (conductor.reconcile, "_is_in_place", lambda *_: False),
    ]


def _all_removed() -> list[Patch]:
    original = compute_agent.reconcile.Reconciler._remove

    def remove(self: Any, instance_id: str) -> Any:
        driver = self._driver

        class Blunt:
            def __getattr__(self, name: str) -> Any:
                return getattr(driver, name)

            def destroy(self, key: str, _below: int | None) -> None:
                driver.destroy(key, None)

        self._driver = Blunt()
        try:
            return original(self, instance_id)
        finally:
            self._driver = driver

    return [(compute_agent.reconcile.Reconciler, "_remove", remove)]


def _no_tombstones() -> list[Patch]:
    original = conductor.deletion.bury

    def bury(turn: Turn, instance: Instance) -> None:
        original(turn, instance)
        turn.drop(Instance, Instance.id == instance.id)

    return [(conductor.deletion, "bury", bury)]


def _unknown_actions() -> list[Patch]:
    def decide(self: Any, turn: Turn, ctxt: Any, request: Any) -> Any:
        turn.drop(Action, Action.id == request.action_id)
        return conductor.accept.begin(conductor.accept.check(turn, self._policy, ctxt, request))

    return [(conductor.accept.Acceptor, "_decide", decide)]


def _kinds_unleft(kind: str) -> Callable[[], list[Patch]]:
    def patches() -> list[Patch]:
        original = leftovers.leave

        def leave(turn: Turn, host: str, what: str, instance_id: str, generation: int) -> None:
            if what != kind:
                original(turn, host, what, instance_id, generation)

        return [(leftovers, "leave", leave)]

    return patches


def _shy_deletes() -> list[Patch]:
    original = conductor.checks._idle

    def idle(case: Any) -> None:
        original(msgspec_free(case))

    def msgspec_free(case: Any) -> Any:
        from dataclasses import replace

        return replace(case, action=replace(case.action, supersedes=False))

    return [(conductor.checks, "_idle", idle)]


def _any_progress() -> list[Patch]:
    original = conductor.start.progress

    def progress(turn: Turn, told: Any) -> None:
        step = turn.get(Step, told.step.step_id)
        if step is not None and told.done <= step.done and step.status == "running":
            turn.change(Step, Step.id == step.id, done=told.done - 1)
        original(turn, told)

    return [(conductor.start, "progress", progress)]


def _bold_reconciler() -> list[Patch]:
    def take(self: Any, instance_id: str, owner: Any) -> bool:
        with self._lock:
            self._owners.setdefault(instance_id, owner)
        return True

    return [(compute_agent.slots.Slots, "take", take)]


def _no_slot() -> list[Patch]:
    def enter(self: Any, _instance_id: str, _owner: Any, go: Callable[[], object]) -> None:
        go()

    return [(compute_agent.slots.Slots, "enter", enter)]


def _hasty_cancel() -> list[Patch]:
    original = compute_agent.runner.Runner.cancel_unlisted

    def cancel(self: Any, listed: Any, _sent_at: float) -> None:
        original(self, listed, float("inf"))

    return [(compute_agent.runner.Runner, "cancel_unlisted", cancel)]


def _deaf_cancel() -> list[Patch]:
    return [(compute_agent.runner.Runner, "cancel_unlisted", _nothing)]


def _hello_by_anyone() -> list[Patch]:
    original = conductor.liveness._take_over

    def take_over(turn: Turn, host: Host, told: Any) -> None:
        original(turn, host, msgspec.structs.replace(told, replaces=host.epoch))

    return [(conductor.liveness, "_take_over", take_over)]


def _hello_by_any_machine() -> list[Patch]:
    original = conductor.liveness.hello

    def hello(turn: Turn, told: Any, *rest: Any) -> Any:
        host = turn.get(Host, told.host)
        if host is not None:
            told = msgspec.structs.replace(
                told, machine_id=host.machine_id, replaces=told.replaces or host.epoch
            )
        return original(turn, told, *rest)

    return [(conductor.liveness, "hello", hello)]


def _any_outcome() -> list[Patch]:
    original = conductor.finish._is_due

    def is_due(turn: Turn, step: Step, outcome: Any) -> bool:
        if step.status != "running":
            return False
        ref = msgspec.structs.replace(outcome.step, attempt=step.attempt, epoch=step.epoch or "")
        return original(turn, step, msgspec.structs.replace(outcome, step=ref))

    return [(conductor.finish, "_is_due", is_due)]


def _endless_attempts() -> list[Patch]:
    original = conductor.start.hand_back

    class Endless:
        def __init__(self, conf: Any) -> None:
            self._conf = conf
            self.max_attempts = 99

        def __getattr__(self, name: str) -> Any:
            return getattr(self._conf, name)

    def hand_back(turn: Turn, ref: Any, recorded: str | None) -> bool:
        turn.conf = Endless(turn.conf)
        return original(turn, ref, recorded)

    return [(conductor.start, "hand_back", hand_back)]


def _wrong_keeper() -> list[Patch]:
    keeper = dict(conductor.reconcile.KEEPER) | {("disk", "guest"): "source"}
    return [(conductor.reconcile, "KEEPER", keeper)]


def _never_reconciled() -> list[Patch]:
    return [(compute_agent.lease.Lease, "is_open", lambda _self: True)]


def _all(kind: Any, name: str, value: Any) -> Callable[[], list[Patch]]:
    return lambda: [(kind, name, value)]


_LEASE = compute_agent.lease.Lease
_SLOTS = compute_agent.slots.Slots
MUTATIONS = (
    Mutation("start by an old process", "start: the epoch is the host's newest",
             _all(conductor.start, "speaking", _anybody), 511),
    Mutation("finish by an old process", "finish: the epoch is the host's newest",
             _all(conductor.finish, "speaking", _anybody), 37),
    Mutation("heartbeats of an old process", "heartbeat: older epochs are refused",
             _old_beats, 113),
    Mutation("any attempt starts", "start: only if the row names this attempt",
             _any_attempt_starts, None,
        "no schedule that does is known yet",
    ),
    Mutation("late starts", "start: the deadline has not passed", _late_starts, None,
        "the reaper ends an overdue step within a second or two",
    ),
    Mutation("accept while busy", "accept: busy is checked and named in the UPDATE",
             _all(conductor.checks, "_idle", _nothing), 0),
    Mutation("start before the slot", "the slot is taken before start is sent", _no_slot, None,
        "the ledger has one live step of an instance on a host, and ends others first",
    ),
    Mutation("launch without a lease", "the lease is checked right before the launch",
             _all(_LEASE, "may_launch", _nothing), 3947),
    Mutation("no bars", "delete bars further launches on the agent",
             _all(_SLOTS, "is_barred", lambda *_: False), None,
        "the delete also cancels the slot's owner, and nothing of a deleted instance starts",
    ),
    Mutation("hand back blindly", "hand_back is compare-and-set", _handed_back_blindly, None,
             "no schedule that does is known yet"),
    Mutation("running steps rerouted", "once running, a step stays with its host",
             _running_rerouted, 1306),
    Mutation("busy ones judged", "reconcile removes nothing of an instance with a live action",
             _busy_judged, None,
        "no schedule that does is known yet",
    ),
    Mutation("all generations removed", "a removal touches only older generations",
             _all_removed, None,
        "no schedule that does is known yet",
    ),
    Mutation("no tombstones", "a deleted instance stays as a tombstone", _no_tombstones, 58),
    Mutation("accept forgets", "accept: a known action id gets the answer it got",
             _unknown_actions, 2761),
    Mutation("finish forgets", "finish is idempotent",
             _all(conductor.finish, "_is_recorded", lambda *_: False), 22),
    Mutation("any outcome", "finish: only while that attempt runs", _any_outcome, None,
             "an attempt that was handed back is an older process's, whose epoch is refused"),
    Mutation("no fence after a lost launch", "after an overdue launch the instance may run "
             "nowhere else until its host has reported", _kinds_unleft("guest"), 1950),
    Mutation("copies forgotten", "what cannot be undone now is a leftover",
             _kinds_unleft("disk"), 1950),
    Mutation("deleted ones forgotten", "a delete on a dead host leaves a leftover",
             _kinds_unleft("instance"), 573),
    Mutation("addresses free at once", "addresses are quarantined until the host has reconciled",
             _all(conductor.deletion, "_suspect", lambda *_: None), None,
             "no schedule that does is known yet"),
    Mutation("endless attempts", "at most 3 attempts", _endless_attempts, 109),
    Mutation("hasty cancel", "answers to heartbeats sent before a step's start do not count",
             _hasty_cancel, 3221),
    Mutation("no cancel", "workers whose step is no longer listed are cancelled",
             _deaf_cancel, None,
        "no schedule that does is known yet",
    ),
    Mutation("hello by anyone", "hello is compare-and-set", _hello_by_anyone, 46),
    Mutation("hello by any machine", "a host name is bound to one machine id",
             _hello_by_any_machine, 32),
    Mutation("leftovers bar nobody", "a host with leftovers cannot receive the instance",
             _all(conductor.power_on, "barred", lambda *_: frozenset()), None,
        "no schedule that does is known yet",
    ),
    Mutation("shy deletes", "delete supersedes the live action", _shy_deletes, 38),
    Mutation("any progress", "progress moves a deadline only when bytes grew",
             _any_progress, None,
        "no schedule that does is known yet",
    ),
    Mutation("bold reconciler", "a removal takes the instance's slot", _bold_reconciler, None,
        "no schedule that does is known yet",
    ),
    Mutation("wrong keeper", "who keeps the machine is one table", _wrong_keeper, 24179),
    Mutation("open at once", "after a lapse nothing starts until the host has reconciled",
             _never_reconciled, None,
             "the ledger starts nothing on a host that has not reconciled"),
    Mutation("late outcomes unseen", "a refused finish is applied as an observation",
             _all(conductor.observations, "observe_late", lambda *_: False), None,
             "the observer tells the same at its next look, within 10 s"),
    Mutation("judged without proof", "a conductor judges only while its own path is proven",
             _all(conductor.judgement.Proof, "holds", lambda *_: True), None,
             "all hosts of so small a cloud fall silent at once, and then none is judged"),
)  # fmt: skip
