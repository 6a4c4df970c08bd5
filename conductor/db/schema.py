"""The schema's revisions: bringing a database to the newest, and refusing an older one.

A revision's file is named ``<revision>_<what>.py`` with a number that grows, and revisions form
one line. A change expands, migrates, and contracts only in a later release, so conductors of two
releases can share a database while an upgrade rolls over them.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from conductor.db.engine import make_engines
from paddock.errors import PaddockError

MIGRATIONS = Path(__file__).parent / "migrations"
UPGRADE_SECONDS = 600.0


class SchemaOutdated(PaddockError):
    """The database's schema is older than this release."""


def revisions() -> list[str]:
    """All revisions that this release knows, oldest first."""
    return sorted(path.name.split("_")[0] for path in MIGRATIONS.glob("versions/[0-9]*_*.py"))


def head() -> str:
    """The newest revision that this release knows."""
    return revisions()[-1]


def current(connection: sa.Connection) -> str | None:
    """The database's revision, None when it is empty."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def check(connection: sa.Connection) -> None:
    """Let pass only a database that this release can use; a newer one it can.

    :raises SchemaOutdated: with what to do
    """
    found = current(connection)
    if found is None or (found in revisions() and found != head()):
        raise SchemaOutdated(
            f"The database's schema is {'missing' if found is None else 'at revision ' + found} "
            f"and this release needs revision {head()}: run 'paddock-manage db upgrade'."
        )


def upgrade(url: str | sa.URL) -> None:
    """Bring a database to the newest revision; harmless when it is there."""
    from alembic import command  # only here: importing it takes as long as starting a conductor
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine, _ = make_engines(url, 1, UPGRADE_SECONDS)
    try:
        with engine.begin() as connection:
            found = current(connection)
            if found is None or found in revisions():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    finally:
        engine.dispose()
