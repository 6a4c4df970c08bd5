"""The ledger's promises on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger_contract import LedgerContract


class TestOnSqlite(LedgerContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/ledger.db"
