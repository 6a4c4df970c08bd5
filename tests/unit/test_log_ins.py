"""The log-ins' contract on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.log_in_contract import LogInContract


class TestSqlite(LogInContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/paddock.db"
