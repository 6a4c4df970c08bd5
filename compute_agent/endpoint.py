"""The hints that this host listens for. Each may be lost, doubled or late without harm."""

from __future__ import annotations

import logging
from typing import Any

from compute_agent.epoch import Identity
from compute_agent.heartbeat import Heartbeats
from compute_agent.queries import Queries
from compute_agent.runner import Runner
from paddock.actions import StepKind
from paddock.clients import ConductorClient
from paddock.errors import PaddockError
from paddock.records import LiveStep
from paddock.rpc import expose

LOG = logging.getLogger(__name__)


class Endpoint:
    """Served at the host's own topic."""

    def __init__(
        self,
        identity: Identity,
        conductor: ConductorClient,
        runner: Runner,
        heartbeats: Heartbeats,
        queries: Queries,
    ) -> None:
        self._identity = identity
        self._conductor = conductor
        self._runner = runner
        self._heartbeats = heartbeats
        self._queries = queries

    @expose
    def run(
        self,
        ctxt: dict[str, Any],  # noqa: ARG002 (the order says in whose name)
        step_id: str,
        instance_id: str | None = None,
        kind: str | None = None,
        attempt: int = 1,
    ) -> None:
        """A step waits in the ledger; without instance and kind, a heartbeat asks what it is."""
        if instance_id is None or kind is None or kind not in {*StepKind}:
            self._heartbeats.kick()
            return
        self._runner.offer(
            LiveStep(
                step_id=step_id,
                action_id="",
                instance_id=instance_id,
                kind=StepKind(kind),
                attempt=attempt,
                status="accepted",
                epoch=None,
            )
        )

    @expose
    def query(self, ctxt: dict[str, Any], query_id: str) -> None:  # noqa: ARG002 (as above)
        """A question waits in the ledger."""
        self._queries.take(query_id)

    @expose
    def ping(self, ctxt: dict[str, Any], nonce: str) -> None:  # noqa: ARG002 (as above)
        """Show that hints arrive."""
        try:
            self._conductor.pong(self._identity.host, self._identity.epoch, nonce)
        except PaddockError as error:
            LOG.info("A ping was not answered: %s", error)
