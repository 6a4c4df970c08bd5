"""Read-only questions to a host: noted by the conductor, hinted to the agent, fetched back."""

from __future__ import annotations

import time
from typing import Any

from api.call import Call, Document
from paddock.clients import AgentClients, LedgerClient
from paddock.errors import ServiceUnavailable, from_wire

FIRST_WAIT = 0.02
LONGEST_WAIT = 0.25


class Questions:
    """Asks hosts.

    :param timeout: seconds to wait for an answer
    """

    def __init__(self, ledger: LedgerClient, agents: AgentClients, timeout: float) -> None:
        self._ledger = ledger
        self._agents = agents
        self._timeout = timeout

    def ask(self, call: Call, instance_id: str, kind: str, params: Document) -> Document:
        """The host's answer.

        :raises ServiceUnavailable: it did not answer in time
        :raises PaddockError: it could not say
        """
        query_id, host = self._ledger.ask(call.ctxt, instance_id, kind, params)
        self._agents(host).query(call.ctxt, query_id)
        answer = self._await(call, query_id)
        if "error" in answer:
            raise from_wire(answer["error"])
        found: dict[str, Any] = answer.get("ok") or {}
        return found

    def _await(self, call: Call, query_id: str) -> Document:
        end = time.monotonic() + self._timeout
        wait = FIRST_WAIT
        while (answer := self._ledger.fetch_answer(call.ctxt, query_id)) is None:
            if time.monotonic() + wait > end:
                raise ServiceUnavailable("The server's host did not answer in time; try again.")
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)
        return answer
