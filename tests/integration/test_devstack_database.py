"""The private database servers keep what they were told, for their own user only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from devstack import packages
from devstack.database import MariaDB, Postgres, Server
from devstack.ports import free_ports


@pytest.fixture(params=[Postgres, MariaDB])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A running server with a database `paddock`, below a directory that only root can enter."""
    if absent := packages.missing(["postgresql", "mariadb-server-core"]):
        pytest.skip(f"Debian packages are missing: {' '.join(absent)}")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server: Server = request.param(closed / "database", "127.0.0.1", free_ports(1))
    try:
        server.start()
        server.create_database("paddock")
        yield server
    finally:
        server.stop()


def execute(url: str, *statements: str) -> list[object]:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.begin() as connection:
            results = [connection.execute(sqlalchemy.text(line)) for line in statements]
            return list(results[-1].scalars()) if results[-1].returns_rows else []
    finally:
        engine.dispose()


def test_what_was_committed_is_there_after_a_restart(server: Server) -> None:
    execute(server.url("paddock"), "CREATE TABLE t (i INT)", "INSERT INTO t VALUES (7)")
    server.stop()
    server.start()
    server.create_database("paddock")
    assert execute(server.url("paddock"), "SELECT i FROM t") == [7]


def test_a_wrong_password_is_refused(server: Server) -> None:
    url = sqlalchemy.make_url(server.url("paddock")).set(password="wrong")
    with pytest.raises(sqlalchemy.exc.OperationalError):
        execute(url.render_as_string(hide_password=False), "SELECT 1")


def test_passwords_are_readable_by_their_owner_only(server: Server) -> None:
    secrets = list(server.directory.glob("*.password"))
    assert len(secrets) == 2
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}


def test_a_dropped_database_is_gone(server: Server) -> None:
    server.drop_database("paddock")
    with pytest.raises(sqlalchemy.exc.OperationalError):
        execute(server.url("paddock"), "SELECT 1")
