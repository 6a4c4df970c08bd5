"""The database contract on SQLite, and the line of revisions."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from conductor.db import schema
from tests.database_contract import DatabaseContract


class TestSqlite(DatabaseContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/paddock.db"


def test_revisions_form_one_line_in_the_order_of_their_numbers() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    line = [revision.revision for revision in script.walk_revisions()]
    assert list(reversed(line)) == schema.revisions()
    assert script.get_heads() == [schema.head()]
