"""Accepting wishes: known ids get the answer they got, new ones are checked and written."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from conductor.begin import begin
from conductor.checks import check
from conductor.db.models import Action, Host, Instance, Step, User
from conductor.plan import LIVE
from conductor.policy import Policy
from conductor.tickets import ticket
from conductor.turn import Turn, Turns, by_id
from paddock import failpoints
from paddock.clients import wire
from paddock.context import RequestContext
from paddock.errors import BadRequest, PaddockError, Unauthorized, from_wire
from paddock.records import AcceptRequest, Ticket


class Acceptor:
    """Accepts users' actions on instances that are there."""

    def __init__(self, turns: Turns, policy: Policy) -> None:
        self._turns = turns
        self._policy = policy

    def accept(self, ctxt: RequestContext, requests: list[AcceptRequest]) -> list[dict[str, Any]]:
        """Accept or refuse each wish by itself, in one transaction.

        :return: for each, ``{"ok": ticket}`` or ``{"error": document}``
        """
        answers = self._turns.run(lambda turn: self._accept_all(turn, ctxt, requests))
        failpoints.hit("ledger.accepted")
        return answers

    def _accept_all(
        self, turn: Turn, ctxt: RequestContext, requests: list[AcceptRequest]
    ) -> list[dict[str, Any]]:
        answers: dict[int, dict[str, Any]] = {}
        for place, request in by_id(requests, lambda request: request.instance_id):
            try:
                answers[place] = {"ok": wire(self._accept(turn, ctxt, request))}
            except PaddockError as error:
                answers[place] = {"error": error.to_wire()}
        return [answers[place] for place in range(len(requests))]

    def _accept(self, turn: Turn, ctxt: RequestContext, request: AcceptRequest) -> Ticket:
        try:
            return turn.attempt(lambda: self._decide(turn, ctxt, request))
        except PaddockError as error:
            known = record_refusal(turn, ctxt, request, error)
            if known is None:
                raise
            return repeat(turn, ctxt, request, known)

    def _decide(self, turn: Turn, ctxt: RequestContext, request: AcceptRequest) -> Ticket:
        turn.look_ahead(
            (Action, request.action_id), (User, ctxt.user_id),
            (Instance, request.instance_id), (Host, Instance.host),
        )  # fmt: skip
        known = turn.get(Action, request.action_id)
        if known is not None:
            return repeat(turn, ctxt, request, known)
        return begin(check(turn, self._policy, ctxt, request))


def repeat(turn: Turn, ctxt: RequestContext, request: AcceptRequest, known: Action) -> Ticket:
    """The answer that an action id got.

    :raises BadRequest: the id was used for something else
    :raises PaddockError: the recorded refusal
    """
    same = (known.instance_id, known.fingerprint, known.project_id, known.user_id)
    asked = (request.instance_id, request.fingerprint, ctxt.project_id, ctxt.user_id)
    if same != asked:
        raise BadRequest("Idempotency-Key: it was used for another request already.")
    if known.refusal is not None:
        raise from_wire(known.refusal)
    return ticket_of(turn, known)


def ticket_of(turn: Turn, action: Action) -> Ticket:
    """The ticket of an accepted action, with the step that waits now, if one does."""
    query = sa.select(Step).where(Step.action_id == action.id, Step.status.in_(LIVE))
    return ticket(turn, action.id, action.instance_id, turn.first(query.order_by(Step.ordinal)))


def record_refusal(
    turn: Turn, ctxt: RequestContext, request: AcceptRequest, error: PaddockError
) -> Action | None:
    """Keep a user's refusal, so that repeating the request repeats it.

    That a token has ended says nothing of the request: with a new one it is decided anew.

    :return: what the request's twin got while this one was being checked, which then holds
    """
    lasts = error.status < 500 and not isinstance(error, Unauthorized)

    def keep() -> Action | None:
        known = turn.get(Action, request.action_id)
        if known is None and lasts:
            turn.add(_refused(turn, ctxt, request, error))
        return known

    return turn.attempt(keep)


def _refused(
    turn: Turn, ctxt: RequestContext, request: AcceptRequest, error: PaddockError
) -> Action:
    return Action(
        id=request.action_id,
        instance_id=request.instance_id,
        verb=request.verb[:64],
        status="refused",
        params={},
        before={},
        fingerprint=request.fingerprint,
        request_id=ctxt.request_id,
        user_id=ctxt.user_id,
        project_id=ctxt.project_id,
        refusal=error.to_wire(),
        created_at=turn.now,
        updated_at=turn.now,
        finished_at=turn.now,
    )
