"""Databases that let nobody in without TLS, and clients that verify them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from conductor.db.session import Database
from devstack import packages
from devstack.database import KINDS, Server
from devstack.ports import free_ports
from paddock.errors import DatabaseUnavailable
from tests.fixtures.certificates import Certificates, certificates, strangers
from tests.fixtures.databases import PACKAGES

__all__ = ["certificates", "strangers"]

NAME = "paddock"
ENCRYPTED = {
    "postgresql": "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    "mysql": "SHOW STATUS LIKE 'Ssl_version'",
}


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
    certificates: Certificates,
) -> Iterator[Server]:  # fmt: skip
    if absent := packages.missing([PACKAGES[request.param]]):
        pytest.skip(f"Debian packages are missing: {' '.join(absent)}")
    made = certificates.issue("db", "database", "127.0.0.1")
    directory: Path = tmp_path_factory.mktemp(request.param)
    server = KINDS[request.param](directory, "127.0.0.1", free_ports(1), certificate=made)
    try:
        server.start()
        server.create_database(NAME)
        yield server
    finally:
        server.stop()


def speaks(url: str) -> str:
    """The version of TLS that a conductor with this URL speaks to its database."""
    database = Database(url)
    try:
        query = ENCRYPTED[sa.make_url(url).get_backend_name()]
        return str(database.read(lambda session: session.execute(sa.text(query)).one()[-1]))
    finally:
        database.dispose()


def test_a_conductor_that_verifies_is_let_in_encrypted(server: Server) -> None:
    assert speaks(server.url(NAME)) in ("TLSv1.2", "TLSv1.3")


def test_nobody_is_let_in_without_tls(server: Server) -> None:
    url = sa.make_url(server.url(NAME)).set(query={})
    plain = (
        {"sslmode": "disable"}
        if url.get_backend_name() == "postgresql"
        else {"ssl_disabled": "true"}
    )
    with pytest.raises((DatabaseUnavailable, sa.exc.OperationalError)):
        speaks(url.set(query=plain).render_as_string(hide_password=False))


def test_a_database_of_another_ca_is_not_believed(server: Server, strangers: Certificates) -> None:
    url = sa.make_url(server.url(NAME))
    own = str(server.certificate / "cacert.pem")  # type: ignore[operator]
    [option] = [key for key, value in url.query.items() if value == own]
    other = url.update_query_dict({option: str(strangers.ca)})
    with pytest.raises(DatabaseUnavailable):
        speaks(other.render_as_string(hide_password=False))


def test_a_database_of_another_name_is_not_believed(server: Server) -> None:
    """Its certificate is for 127.0.0.1, not for the name that leads there."""
    url = sa.make_url(server.url(NAME)).set(host="localhost")
    with pytest.raises(DatabaseUnavailable):
        speaks(url.render_as_string(hide_password=False))
