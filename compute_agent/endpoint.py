"""The hints that this host listens for. Each may be lost, doubled or late without harm."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from compute_agent.epoch import Identity
from compute_agent.heartbeat import Heartbeats
from compute_agent.lease import now
from compute_agent.queries import Queries
from compute_agent.runner import Runner
from paddock.actions import StepKind
from paddock.clients import ConductorClient
from paddock.errors import PaddockError
from paddock.records import LiveStep
from paddock.rpc import Server, expose

LOG = logging.getLogger(__name__)
AGAIN_SECONDS = 20.0
STOP_SECONDS = 5.0
TRIES = 3


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
                kind=kind,
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


class Ears:
    """Listens anew when the conductor's probes go unheard, and gives up in the end.

    :param give_up: ends this process, so that its supervisor starts another
    """

    def __init__(self, server: Server, give_up: Callable[[], object]) -> None:
        self._server = server
        self._give_up = give_up
        self._tried_at: list[float] = []

    def listen(self, sent_at: float) -> None:
        """Obey the order to listen; it is repeated until a probe was heard.

        :param sent_at: when the heartbeat was sent that was answered with it
        """
        recent = [at for at in self._tried_at if sent_at - at < (TRIES + 1) * AGAIN_SECONDS]
        if recent and sent_at - recent[-1] < AGAIN_SECONDS:
            return
        if len(recent) >= TRIES:
            LOG.error("No hint arrives, though the listener was started anew %d times", TRIES)
            self._give_up()
            return
        LOG.warning("No hint arrives: listening anew")
        self._tried_at = [*recent, now()]
        restart = threading.Thread(target=self._server.restart, args=(STOP_SECONDS,), daemon=True)
        restart.start()
