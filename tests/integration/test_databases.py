"""The database contract on real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import pytest

from tests.database_contract import DatabaseContract


class TestServers(DatabaseContract):
    @pytest.fixture
    def url(self, database_url: str) -> str:
        return database_url
