"""What agents may call (topic conductor-agent): the methods of ``ConductorClient``, no others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec

from conductor import (
    finish,
    limits,
    liveness,
    observations,
    pings,
    queries,
    reconcile,
    start,
    step_tickets,
)
from conductor.agents import speaking
from conductor.refusals import Refusals
from conductor.senders import Senders
from conductor.turn import Turn, Turns, each
from paddock import records as r
from paddock.clients import wire
from paddock.rpc import expose
from paddock.versions import FIRST

T = TypeVar("T")
Answer = TypeVar("Answer", r.HelloAnswer, r.HeartbeatAnswer)
Method = TypeVar("Method", bound=Callable[..., Any])
Context = dict[str, Any]
Json = dict[str, Any]


def hears(method: Method) -> Method:
    """Let agents call this method: its arguments are looked at first, its refusals are logged."""

    @functools.wraps(method)
    def hear(self: AgentEndpoint, ctxt: Context, **told: Any) -> Any:
        with self.refusals.watch(ctxt, method.__name__):
            limits.check(told)
            return method(self, ctxt, **told)

    return cast(Method, expose(hear))


class AgentEndpoint:
    """Hands agents' calls to the ledger, each in one transaction.

    :param served: the lowest RPC version of all live conductors
    :ivar refusals: where what is refused is logged
    """

    def __init__(
        self, turns: Turns, senders: Senders, served: Callable[[], str] = lambda: FIRST
    ) -> None:
        self.refusals: Refusals = senders.refusals
        self._turns = turns
        self._senders = senders
        self._served = served

    @hears
    def hello(self, ctxt: Context, hello: Json) -> Any:
        """See ConductorClient."""
        told = limits.read(hello, r.Hello)
        self._senders.check_agent(ctxt, told.host)
        if liveness.is_stranger(told):
            raise self._run(ctxt, lambda turn: liveness.refuse_stranger(turn, told))
        return self._once(ctxt, told.host, lambda turn: self._told(liveness.hello(turn, told)))

    @hears
    def heartbeat(self, ctxt: Context, beat: Json) -> Any:
        """See ConductorClient."""
        told = limits.read(beat, r.Heartbeat)
        self._senders.check_agent(ctxt, told.host)
        return wire(self._run(ctxt, lambda turn: self._told(liveness.heartbeat(turn, told))))

    @hears
    def start(self, ctxt: Context, steps: list[Json]) -> Any:
        """See ConductorClient."""
        refs = limits.read(steps, list[r.StepRef])
        self._check_all(ctxt, refs)
        return self._run(
            ctxt,
            lambda turn: each(
                turn, refs, lambda ref: ref.step_id, lambda ref: wire(start.start(turn, ref))
            ),
        )

    @hears
    def finish(self, ctxt: Context, outcomes: list[Json]) -> Any:
        """See ConductorClient."""
        told = limits.read(outcomes, list[r.Outcome])
        self._check_all(ctxt, [outcome.step for outcome in told])
        return self._run(
            ctxt,
            lambda turn: each(
                turn, told, lambda one: one.step.step_id, lambda one: finish.finish(turn, one)
            ),
        )

    @hears
    def hand_back(self, ctxt: Context, step: Json, recorded_epoch: str | None) -> Any:
        """See ConductorClient."""
        ref = limits.read(step, r.StepRef)
        return self._once(ctxt, ref.host, lambda turn: start.hand_back(turn, ref, recorded_epoch))

    @hears
    def progress(self, ctxt: Context, progress: Json) -> None:
        """See ConductorClient."""
        told = limits.read(progress, r.Progress)
        self._once(ctxt, told.step.host, lambda turn: start.progress(turn, told))

    @hears
    def report(self, ctxt: Context, host: str, epoch: str, seen: list[Json]) -> None:
        """See ConductorClient."""
        told = limits.read(seen, list[r.Observation])

        def note(turn: Turn) -> None:
            speaking(turn, host, epoch)
            observations.observe_all(turn, host, told)

        self._once(ctxt, host, note)

    @hears
    def reconcile(self, ctxt: Context, host: str, epoch: str, found: list[Json]) -> Any:
        """See ConductorClient."""
        things = limits.read(found, list[r.Found])
        self._senders.check_agent(ctxt, host)
        return wire(self._run(ctxt, lambda turn: reconcile.reconcile(turn, host, epoch, things)))

    @hears
    def reconciled(self, ctxt: Context, host: str, epoch: str, removed: list[Json]) -> None:
        """See ConductorClient."""
        verdicts = limits.read(removed, list[r.Verdict])
        self._senders.check_agent(ctxt, host)
        self._run(ctxt, lambda turn: reconcile.reconciled(turn, host, epoch, verdicts))

    @hears
    def fetch_query(self, ctxt: Context, host: str, epoch: str, query_id: str) -> Any:
        """See ConductorClient."""
        self._senders.check_agent(ctxt, host)
        return wire(self._turns.read(lambda turn: queries.fetch_query(turn, host, epoch, query_id)))

    @hears
    def answer(self, ctxt: Context, host: str, epoch: str, query_id: str, answer: Json) -> None:
        """See ConductorClient."""
        self._once(ctxt, host, lambda turn: queries.answer(turn, host, epoch, query_id, answer))

    @hears
    def open_disk(self, ctxt: Context, host: str, epoch: str, ticket: str) -> Any:
        """See ConductorClient."""
        self._senders.check_agent(ctxt, host)
        return wire(
            self._turns.read(lambda turn: step_tickets.open_disk(turn, host, epoch, ticket))
        )

    @hears
    def pong(self, ctxt: Context, host: str, epoch: str, nonce: str) -> None:
        """See ConductorClient."""
        self._once(ctxt, host, lambda turn: pings.pong(turn, host, epoch, nonce))

    def _told(self, answer: Answer) -> Answer:
        return msgspec.structs.replace(answer, rpc_version=self._served())

    def _once(self, ctxt: Context, host: str, fn: Callable[[Turn], T]) -> Any:
        self._senders.check_agent(ctxt, host)
        return wire(self._run(ctxt, lambda turn: turn.attempt(lambda: fn(turn))))

    def _run(self, ctxt: Context, fn: Callable[[Turn], T]) -> T:
        """One transaction; what of it was not the sender's is logged, also when it fails."""
        refused: list[str] = []

        def work(turn: Turn) -> T:
            turn.refused = refused
            return fn(turn)

        try:
            return self._turns.run(work)
        finally:
            for text in refused:
                self.refusals.note(ctxt, text)

    def _check_all(self, ctxt: Context, refs: list[r.StepRef]) -> None:
        for ref in refs:
            self._senders.check_agent(ctxt, ref.host)
