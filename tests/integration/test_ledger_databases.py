"""The ledger's promises on real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import pytest

from tests.ledger_contract import LedgerContract


class TestOnServers(LedgerContract):
    @pytest.fixture
    def url(self, database_url: str) -> str:
        return database_url
