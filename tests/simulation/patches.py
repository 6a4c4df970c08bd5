"""What takes the place of parts of the product, so that a rule of the design is missing."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

import conductor.accept
import conductor.checks
import conductor.deletion
import conductor.drain_moves
import conductor.finish
import conductor.keeper
import conductor.liveness
import conductor.reaper
import conductor.reconcile
import conductor.start
from conductor import leftovers
from conductor.db.models import Action, Host, Instance, Step
from conductor.turn import Turn

Patch = tuple[Any, str, Any]


def nothing(*_: Any, **__: Any) -> None:
    """What a rule does that is not there."""


def anybody(turn: Turn, host: str, _epoch: str) -> Any:
    return turn.get(Host, host)


def old_beats() -> list[Patch]:
    original = conductor.liveness.heartbeat

    def heartbeat(turn: Turn, beat: Any, *rest: Any) -> Any:
        host = turn.get(Host, beat.host)
        return original(turn, msgspec.structs.replace(beat, epoch=host.epoch), *rest)  # type: ignore[union-attr]

    return [(conductor.liveness, "heartbeat", heartbeat)]


def any_attempt_starts() -> list[Patch]:
    original = conductor.start.start

    def start(turn: Turn, ref: Any) -> Any:
        step = turn.get(Step, ref.step_id)
        attempt = step.attempt if step else ref.attempt
        return original(turn, msgspec.structs.replace(ref, attempt=attempt))

    return [(conductor.start, "start", start)]


def late_starts() -> list[Patch]:
    original = conductor.start._check_start

    def check(turn: Turn, host: Host, step: Step, instance: Instance) -> None:
        class Timeless:
            def __getattr__(self, name: str) -> Any:
                return getattr(step, name)

            deadline = turn.now.replace(year=9000)

        original(turn, host, Timeless(), instance)  # type: ignore[arg-type]

    return [(conductor.start, "_check_start", check)]


def handed_back_blindly() -> list[Patch]:
    original = conductor.start.hand_back

    def hand_back(turn: Turn, ref: Any, recorded: str | None) -> bool:
        step = turn.get(Step, ref.step_id)
        if step is None or step.status != "running":
            return original(turn, ref, recorded)
        return original(turn, msgspec.structs.replace(ref, attempt=step.attempt), step.epoch)

    return [(conductor.start, "hand_back", hand_back)]


def running_rerouted() -> list[Patch]:
    original = conductor.reaper.rerouting.waiting_on_dead

    def waiting(turn: Turn, limit: int) -> list[Step]:
        from conductor.placement import is_dead

        for step in turn.all(conductor.reaper.sa.select(Step).where(Step.status == "running")):
            if is_dead(turn.get(Host, step.host)):
                turn.change(Step, Step.id == step.id, status="accepted", started_at=None)
        return original(turn, limit)

    return [(conductor.reaper.rerouting, "waiting_on_dead", waiting)]


class _Idle:
    """An instance's row, as if nothing went on."""

    busy = None

    def __init__(self, row: Instance) -> None:
        self._row = row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)


class _Blind:
    """A transaction that does not see which instances are busy."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turn, name)

    def get(self, kind: Any, key: Any) -> Any:
        row = self._turn.get(kind, key)
        return _Idle(row) if isinstance(row, Instance) else row

    def change(self, kind: Any, *facts: Any, **values: Any) -> int:
        return self._turn.change(kind, *_without_busy(facts), **values)

    def must(self, kind: Any, *facts: Any, **values: Any) -> None:
        self._turn.must(kind, *_without_busy(facts), **values)


def _without_busy(facts: Iterable[Any]) -> Iterator[Any]:
    for fact in facts:
        if isinstance(fact, Mapping):
            yield {name: value for name, value in fact.items() if name != "busy"}
        elif not is_of_busy(fact):
            yield fact


def is_of_busy(fact: Any) -> bool:
    return getattr(getattr(fact, "column", None), "key", "") == "busy"


def busy_judged() -> list[Patch]:
    """Each layer that leaves busy instances alone: the verdict, and what settles claims."""
    module = conductor.reconcile
    judge, settle = module._judge, module._settle

    def judge_blindly(turn: Turn, *rest: Any) -> Any:
        return judge(_Blind(turn), *rest)  # type: ignore[arg-type]

    def settle_blindly(turn: Turn, *rest: Any) -> None:
        settle(_Blind(turn) if isinstance(turn, Turn) else turn, *rest)  # type: ignore[arg-type]

    return [
        (module, "_judge", judge_blindly),
        (module, "_settle", settle_blindly),
        (module, "_is_cleaning", lambda *_: False),
    ]


def no_tombstones() -> list[Patch]:
    original = conductor.deletion.bury

    def bury(turn: Turn, instance: Instance) -> None:
        original(turn, instance)
        turn.drop(Instance, Instance.id == instance.id)

    return [(conductor.deletion, "bury", bury)]


def unknown_actions() -> list[Patch]:
    def decide(self: Any, turn: Turn, ctxt: Any, request: Any) -> Any:
        turn.drop(Action, Action.id == request.action_id)
        return conductor.accept.begin(conductor.accept.check(turn, self._policy, ctxt, request))

    return [(conductor.accept.Acceptor, "_decide", decide)]


def kinds_unleft(kind: str) -> Callable[[], list[Patch]]:
    def patches() -> list[Patch]:
        original = leftovers.leave

        def leave(turn: Turn, host: str, what: str, instance_id: str, generation: int) -> None:
            if what != kind:
                original(turn, host, what, instance_id, generation)

        return [(leftovers, "leave", leave)]

    return patches


def shy_deletes() -> list[Patch]:
    original = conductor.checks._idle

    def idle(case: Any) -> None:
        original(msgspec_free(case))

    def msgspec_free(case: Any) -> Any:
        from dataclasses import replace

        return replace(case, action=replace(case.action, supersedes=False))

    return [(conductor.checks, "_idle", idle)]


def any_progress() -> list[Patch]:
    original = conductor.start.progress

    def progress(turn: Turn, told: Any) -> None:
        step = turn.get(Step, told.step.step_id)
        if step is not None and told.done <= step.done and step.status == "running":
            turn.change(Step, Step.id == step.id, done=told.done - 1)
        original(turn, told)

    return [(conductor.start, "progress", progress)]


def hello_by_anyone() -> list[Patch]:
    original = conductor.liveness._take_over

    def take_over(turn: Turn, host: Host, told: Any) -> None:
        original(turn, host, msgspec.structs.replace(told, replaces=host.epoch))

    return [(conductor.liveness, "_take_over", take_over)]


def hello_by_any_machine() -> list[Patch]:
    original = conductor.liveness.hello

    def hello(turn: Turn, told: Any, *rest: Any) -> Any:
        host = turn.get(Host, told.host)
        if host is not None:
            told = msgspec.structs.replace(
                told, machine_id=host.machine_id, replaces=told.replaces or host.epoch
            )
        return original(turn, told, *rest)

    return [(conductor.liveness, "hello", hello)]


def any_outcome() -> list[Patch]:
    """An outcome counts whatever has become of its step, unless it is known already."""
    is_recorded = conductor.finish._is_recorded
    return [(conductor.finish, "_is_due", lambda _turn, step, told: not is_recorded(step, told))]


def outcome_of_another() -> list[Patch]:
    original = conductor.finish._is_due

    def is_due(turn: Turn, step: Step, outcome: Any) -> bool:
        ref = msgspec.structs.replace(outcome.step, attempt=step.attempt, epoch=step.epoch or "")
        return original(turn, step, msgspec.structs.replace(outcome, step=ref))

    return [(conductor.finish, "_is_due", is_due)]


def start_anywhere() -> list[Patch]:
    original = conductor.start._check_start

    class Up:
        state, forced_down = "up", False

    def check(turn: Turn, _host: Host, step: Step, instance: Instance) -> None:
        original(turn, Up(), step, instance)  # type: ignore[arg-type]

    return [(conductor.start, "_check_start", check)]


def time_for_each() -> list[Patch]:
    original = conductor.start.hand_back

    def hand_back(turn: Turn, ref: Any, recorded: str | None) -> bool:
        facts = (Step.id == ref.step_id, Step.attempt == ref.attempt, Step.status == "running")
        anew = turn.now + datetime.timedelta(seconds=15)
        turn.change(Step, *facts, Step.epoch == recorded, deadline=anew)
        return original(turn, ref, recorded)

    return [(conductor.start, "hand_back", hand_back)]


def no_hard_limit() -> list[Patch]:
    def moved(turn: Turn, _step: Step) -> datetime.datetime:
        return turn.now + datetime.timedelta(seconds=15)

    return [(conductor.start, "_moved_deadline", moved)]


def up_at_once() -> list[Patch]:
    original = conductor.liveness._note

    def note(turn: Turn, host: Host, beat: Any) -> bool:
        was_down, noted = host.state == "down", original(turn, host, beat)
        if was_down and noted:
            turn.change(Host, Host.name == host.name, state="up")
        return noted

    return [(conductor.liveness, "_note", note)]


def endless_attempts() -> list[Patch]:
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


def judged_once() -> list[Patch]:
    original = conductor.reconcile._judge_idle

    def judge(turn: Turn, host: Host, *what: Any) -> Any:
        verdict = original(turn, host, *what)
        if verdict is not None and verdict.reason == "a newer one is here":
            turn.change(Host, Host.name == host.name, reconcile=False)
        return verdict

    return [(conductor.reconcile, "_judge_idle", judge)]


def stopped_for_good() -> list[Patch]:
    return [(conductor.drain_moves, "_is_to_start", lambda *_: False)]


def wrong_keeper() -> list[Patch]:
    table = conductor.keeper.KEEPER | {("launch", "disk", "guest"): "source"}
    return [(conductor.keeper, "KEEPER", table)]


def wrong_live_keeper() -> list[Patch]:
    table = conductor.keeper.KEEPER | {("live", "disk", "guest"): "source"}
    return [(conductor.keeper, "KEEPER", table)]


def one(kind: Any, name: str, value: Any) -> Callable[[], list[Patch]]:
    return lambda: [(kind, name, value)]
