"""A server that offers no TLS where the URL asks for it, as somebody on the way would have it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from conductor.db.session import Database
from paddock.errors import DatabaseUnavailable
from tests.fixtures.certificates import Certificates, certificates

__all__ = ["certificates"]

SECONDS = 5.0
WITHOUT_TLS = 0xFFFFFFFF & ~0x800
"""All that a server of MySQL's protocol can do, but TLS (CLIENT_SSL)."""


def greeting() -> bytes:
    """The first packet of MySQL's protocol, version 10."""
    low, high = WITHOUT_TLS & 0xFFFF, WITHOUT_TLS >> 16
    said = b"\x0a8.0.0\0" + struct.pack("<I8sxHBHHB10x", 1, b"s" * 8, low, 45, 2, high, 21)
    said += b"s" * 12 + b"\0mysql_native_password\0"
    return struct.pack("<I", len(said)) + said


class Stripper:
    """Greets whoever connects, and says that there is no TLS.

    :ivar heard: all that callers said
    """

    def __init__(self, kind: str) -> None:
        self.heard = b""
        self._kind = kind
        self._entrance = socket.create_server(("127.0.0.1", 0))
        self.port = self._entrance.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._entrance.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        self._entrance.close()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._entrance.accept()
            except OSError:
                return
            with peer, suppress(OSError):
                peer.settimeout(SECONDS)
                self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        if self._kind == "postgresql":
            self.heard += peer.recv(8)  # SSLRequest
            peer.sendall(b"N")
        else:
            peer.sendall(greeting())
        while more := peer.recv(4096):
            self.heard += more


@pytest.fixture(params=["postgresql", "mariadb"])
def stripper(request: pytest.FixtureRequest) -> Iterator[Stripper]:
    made = Stripper(request.param)
    yield made
    made.close()


def url(stripper: Stripper, ca: Path) -> str:
    at = f"://paddock:secret@127.0.0.1:{stripper.port}/paddock"
    if stripper._kind == "postgresql":
        return f"postgresql+psycopg{at}?sslmode=verify-full&sslrootcert={ca}"
    return f"mysql+pymysql{at}?ssl_ca={ca}"


def test_a_conductor_tells_a_database_without_tls_nothing(
    stripper: Stripper, certificates: Certificates
) -> None:
    database = Database(url(stripper, certificates.ca))
    try:
        with pytest.raises(DatabaseUnavailable):
            database.read(lambda session: session.execute(sa.text("SELECT 1")).one())
    finally:
        database.dispose()
    assert b"paddock" not in stripper.heard
