"""The log-ins' contract on real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import pytest

from tests.log_in_contract import LogInContract


class TestOnServers(LogInContract):
    @pytest.fixture
    def url(self, database_url: str) -> str:
        return database_url
