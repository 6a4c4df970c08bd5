"""The ledger's promises on real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from paddock.errors import PaddockError
from tests.fixtures.ledger import Ledger
from tests.fixtures.model_agent import Agent, run_all
from tests.ledger_contract import LedgerContract


class TestOnServers(LedgerContract):
    @pytest.fixture
    def url(self, database_url: str) -> str:
        return database_url

    def test_of_two_refusals_of_one_request_the_recorded_one_is_answered(
        self, ledger: Ledger, agents: dict[str, Agent]
    ) -> None:
        (ticket,) = ledger.create()
        run_all(agents)

        def ask() -> str:
            answer = ledger.ask(ticket.instance_id, "unpause", action_id="twins")
            assert isinstance(answer, PaddockError)
            return answer.message

        def twin() -> str:
            ledger.ask(ticket.instance_id, "pause")
            return ask()

        with _overtaken_by(twin, ledger.database.writer) as said:
            late = ask()
        assert "while 'pause' is going on" in late
        assert [late] == said
        assert ask() == late
        run_all(agents)


@contextmanager
def _overtaken_by(twin: Any, engine: sa.Engine) -> Iterator[list[str]]:
    """Have ``twin`` run on a connection of its own just before the next refusal is written."""
    said: list[str] = []
    begun = threading.Semaphore(1)

    def overtake(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if text.startswith("INSERT INTO actions") and begun.acquire(blocking=False):
            with ThreadPoolExecutor(1) as pool:
                said.append(pool.submit(twin).result(30))

    sa.event.listen(engine, "before_cursor_execute", overtake)
    yield said
    sa.event.remove(engine, "before_cursor_execute", overtake)
