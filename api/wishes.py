"""Handing wishes to the ledger and hinting them to the hosts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from api.call import Call, Document
from api.idempotency import mint
from paddock import failpoints
from paddock.clients import AgentClients, LedgerClient
from paddock.errors import PaddockError, ServiceUnavailable
from paddock.records import AcceptRequest, CreateRequest, Ticket

LOG = logging.getLogger(__name__)
T = TypeVar("T")
ATTEMPTS = 2


class Wishes:
    """What changes instances goes through here.

    :param ledger: one whose calls may each take a share of a call's time, see ``ATTEMPTS``
    """

    def __init__(self, ledger: LedgerClient, agents: AgentClients) -> None:
        self._ledger = ledger
        self._agents = agents

    def ask_for(self, call: Call, instance_id: str, verb: str, params: Document) -> Ticket:
        """Have one action accepted.

        :raises PaddockError: what the ledger refused it with
        """
        request = AcceptRequest(
            action_id=mint(call, "action"),
            instance_id=instance_id,
            verb=verb,
            params=params,
            fingerprint=call.fingerprint,
        )
        [answer] = _again(lambda: self._ledger.accept(call.ctxt, [request]))
        if isinstance(answer, PaddockError):
            raise answer
        self._hint(call, answer, verb)
        return answer

    def create(self, call: Call, request: CreateRequest) -> list[Ticket]:
        """Have new instances accepted, all or as many as there is room for."""
        tickets = _again(lambda: self._ledger.create(call.ctxt, request))
        for ticket in tickets:
            self._hint(call, ticket, "create")
        return tickets

    def _hint(self, call: Call, ticket: Ticket, verb: str) -> None:
        about = {"action_id": ticket.action_id, "instance_id": ticket.instance_id}
        LOG.info("%s was accepted", verb, extra=about)
        if ticket.host and ticket.step_id:
            failpoints.hit("api.before-hint")
            agent = self._agents(ticket.host, ticket.rpc_version)
            agent.run(call.ctxt, ticket.step_id, ticket.instance_id, ticket.kind)


def _again(ask: Callable[[], T]) -> T:
    """Ask again when no answer came, or none of whether it was written, up to `ATTEMPTS` times;
    the ids make that harmless."""
    for _ in range(ATTEMPTS - 1):
        with suppress(ServiceUnavailable):
            return ask()
    return ask()
