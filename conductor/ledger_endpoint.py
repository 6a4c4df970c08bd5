"""What the API may call about instances (topic conductor-api): the methods of ``LedgerClient``."""

from __future__ import annotations

from typing import Any

from conductor import edits, queries, views
from conductor.accept import Acceptor
from conductor.create import Creator
from conductor.policy import Policy
from conductor.senders import Senders
from conductor.turn import Turn, Turns
from paddock import records as r
from paddock.clients import read, wire
from paddock.context import RequestContext
from paddock.rpc import expose

Context = dict[str, Any]
Json = dict[str, Any]


class LedgerEndpoint:
    """Hands the API's calls to the ledger, each in one transaction or one read."""

    def __init__(self, turns: Turns, policy: Policy, senders: Senders) -> None:
        self._turns = turns
        self._policy = policy
        self._senders = senders
        self._acceptor = Acceptor(turns, policy)
        self._creator = Creator(turns, policy)

    @expose
    def accept(self, ctxt: Context, requests: list[Json]) -> Any:
        """See LedgerClient."""
        return self._acceptor.accept(self._caller(ctxt), read(requests, list[r.AcceptRequest]))

    @expose
    def create(self, ctxt: Context, request: Json) -> Any:
        """See LedgerClient."""
        return wire(self._creator.create(self._caller(ctxt), read(request, r.CreateRequest)))

    @expose
    def list_instances(self, ctxt: Context, listing: Json) -> Any:
        """See LedgerClient."""
        asks, page = self._caller(ctxt), read(listing, r.Listing)
        return wire(
            self._turns.read(lambda turn: views.list_instances(turn, self._policy, asks, page))
        )

    @expose
    def get_instance(self, ctxt: Context, instance_id: str) -> Any:
        """See LedgerClient."""
        asks = self._caller(ctxt)
        return wire(
            self._turns.read(lambda turn: views.get_instance(turn, self._policy, asks, instance_id))
        )

    @expose
    def update_instance(self, ctxt: Context, instance_id: str, changes: Json) -> Any:
        """See LedgerClient."""
        asks = self._caller(ctxt)

        def update(turn: Turn) -> r.InstanceRecord:
            return edits.update(turn, self._policy, asks, instance_id, changes)

        return wire(self._turns.run(lambda turn: turn.attempt(lambda: update(turn))))

    @expose
    def list_actions(self, ctxt: Context, instance_id: str, listing: Json) -> Any:
        """See LedgerClient."""
        asks, page = self._caller(ctxt), read(listing, r.Listing)
        return wire(
            self._turns.read(
                lambda turn: views.list_actions(turn, self._policy, asks, instance_id, page)
            )
        )

    @expose
    def get_action(self, ctxt: Context, instance_id: str, request_id: str) -> Any:
        """See LedgerClient."""
        asks = self._caller(ctxt)
        return wire(
            self._turns.read(
                lambda turn: views.get_action(turn, self._policy, asks, instance_id, request_id)
            )
        )

    @expose
    def ask(self, ctxt: Context, instance_id: str, kind: str, params: Json) -> Any:
        """See LedgerClient."""
        asks = self._caller(ctxt)
        return wire(
            self._turns.run(
                lambda turn: queries.ask(turn, self._policy, asks, instance_id, kind, params)
            )
        )

    @expose
    def fetch_answer(self, ctxt: Context, query_id: str) -> Any:
        """See LedgerClient."""
        asks = self._caller(ctxt)
        answer = self._turns.read(
            lambda turn: queries.fetch_answer(turn, self._policy, asks, query_id)
        )
        if answer is not None:
            self._turns.run(lambda turn: queries.forget(turn, query_id))
        return answer

    def _caller(self, ctxt: Context) -> RequestContext:
        self._senders.check_api(ctxt)
        return RequestContext.from_dict(ctxt)
