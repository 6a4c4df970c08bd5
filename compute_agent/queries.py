"""Answers read-only questions about guests, beside the workers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from compute_agent.drivers.base import Driver
from compute_agent.epoch import Identity
from compute_agent.pool import Pool
from paddock.clients import ConductorClient, wire
from paddock.errors import NotFound, PaddockError, Unsupported
from paddock.inventory import ORDER, question_id
from paddock.records import QueryOrder

LOG = logging.getLogger(__name__)
THREADS = 2


class Queries:
    """Fetches what a query asks, asks the driver, and calls the conductor with the answer."""

    def __init__(self, identity: Identity, conductor: ConductorClient, driver: Driver) -> None:
        self._identity = identity
        self._conductor = conductor
        self._driver = driver
        self._pool = Pool(THREADS, "query")
        self._lock = threading.Lock()
        self._telling = False
        self._kinds: dict[str, Callable[[QueryOrder], Any]] = {
            "console": self._console,
            ORDER: self._inventory,
        }

    def start(self) -> None:
        """Nothing: it waits for queries."""

    def stop(self, timeout: float) -> None:
        """Answer no more."""
        self._pool.stop(timeout)

    def take(self, query_id: str) -> None:
        """Answer a query as soon as a thread is free."""
        self._pool.submit(partial(self._answer, query_id))

    def tell_inventory(self, sent_at: float) -> None:  # noqa: ARG002 (an order's)
        """Answer what everything on this host is; each heartbeat orders it until that is done, so
        one look at a time is enough."""
        with self._lock:
            if self._telling:
                return
            self._telling = True
        if not self._pool.submit(self._tell):
            self._telling = False

    def _tell(self) -> None:
        try:
            self._answer(question_id(self._identity.host))
        finally:
            self._telling = False

    def _answer(self, query_id: str) -> None:
        host, epoch = self._identity.host, self._identity.epoch
        try:
            order = self._conductor.fetch_query(host, epoch, query_id)
            self._conductor.answer(host, epoch, query_id, self._ask(order))
        except NotFound:
            LOG.debug("Query %s is over", query_id)
        except PaddockError as error:
            LOG.warning("Query %s was not answered: %s", query_id, error)

    def _ask(self, order: QueryOrder) -> dict[str, Any]:
        try:
            kind = self._kinds.get(order.kind)
            if kind is None:
                raise Unsupported(f"This host cannot answer questions of the kind {order.kind!r}.")
            return {"ok": kind(order)}
        except PaddockError as error:
            return {"error": error.to_wire()}

    def _inventory(self, _order: QueryOrder) -> list[Any]:
        found: list[Any] = wire(self._driver.found())
        return found

    def _console(self, order: QueryOrder) -> dict[str, Any]:
        return {"output": self._driver.console(order.instance_id, order.params.get("length"))}
