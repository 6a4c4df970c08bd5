"""Gives this host's disks to other hosts, each to who shows the ticket of a step that fetches it.

Hosts know each other by certificates of one CA. Who has none gets no further than the handshake.
The conductor says which disk a ticket opens, if any: what is asked names no file.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from oslo_config import cfg

from compute_agent import disk_stream
from compute_agent.drivers.base import DiskMover, Driver
from compute_agent.epoch import Identity
from compute_agent.room import Room
from compute_agent.sparse import data_size
from paddock import tickets
from paddock.actions import ALIVE
from paddock.certificates import read
from paddock.clients import ConductorClient
from paddock.drafts import refuse_shared
from paddock.errors import HypervisorError, PaddockError, StaleEpoch
from paddock.logs import Rate
from paddock.runtime import run_blocking

LOG = logging.getLogger(__name__)
SILENT_SECONDS = 30.0
ASKING_SECONDS = 10.0
"""In which a connection must have said what it wants."""
MOST, EACH = 32, 8
"""Connections at once, and those from one address; more are closed."""
LINES, SECONDS = 20, 60.0
"""So many lines of the log in so many seconds about one address."""

_PLACE = re.compile("[0-9]{1,19}")
OpenDisk = Callable[[str], BinaryIO]
"""Gives the disk that a ticket opens."""


class CannotListen(PaddockError):
    """Nobody could fetch a disk from here."""


class DiskServer:
    """Part of an agent where ``[compute] pki_path`` is set, and nothing otherwise.

    :param conf: ``address``, ``disk_port`` and ``pki_path`` of the group ``compute`` count
    :raises ValueError: a certificate or the key is not right; the text is one sentence
    """

    def __init__(
        self, conf: cfg.ConfigOpts, identity: Identity, conductor: ConductorClient, driver: Driver
    ) -> None:
        self._options = conf.compute
        self._identity = identity
        self._conductor = conductor
        self._driver = driver
        self._server: _Server | None = None
        self._pki = Pki(Path(conf.compute.pki_path)) if conf.compute.pki_path else None
        if self._pki:
            self._pki.context()

    def start(self) -> None:
        """Listen.

        :raises CannotListen: the address is not this host's, or the port is taken
        """
        if self._pki is None:
            return
        address = (self._options.address, self._options.disk_port)
        try:
            self._server = _Server(address, self._pki, self._open)
        except OSError as error:
            raise CannotListen(
                f"[compute] address, disk_port: {address[0]} port {address[1]}: {error.strerror}"
            ) from None
        threading.Thread(target=self._server.serve_forever, name="disks", daemon=True).start()

    def stop(self, timeout: float) -> None:  # noqa: ARG002 (who reads goes on elsewhere, or later)
        """Listen no more, and break off what is on its way."""
        if self._server is not None:
            self._server.stop()

    def _open(self, ticket: str) -> BinaryIO:
        host, epoch = self._identity.host, self._identity.epoch
        disk = self._conductor.open_disk(host, epoch, ticket)
        if not isinstance(self._driver, DiskMover):
            raise HypervisorError("This host gives no disks.")
        if self._driver.seen(disk.instance_id) in ALIVE:
            raise HypervisorError("The guest runs, so its disk is not still.")
        return self._driver.open_disk(disk.instance_id, disk.generation)


class Pki:
    """This host's certificate and key, and the CA's certificate, as the files are now.

    :param directory: holds ``cert.pem``, ``key.pem`` and ``cacert.pem``, and ``cacrl.pem`` where
        certificates were taken back
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def context(self) -> ssl.SSLContext:
        """What a connection is encrypted with; its other end must have a certificate, too.

        :raises ValueError: see :class:`DiskServer`
        """
        authority, certificate, key, revoked = (
            self._directory / name for name in ("cacert.pem", "cert.pem", "key.pem", "cacrl.pem")
        )
        try:
            read(authority)
            read(certificate)
            refuse_shared(key)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
            context.load_cert_chain(certificate, key, password=lambda: "")
            if revoked.exists():
                context.load_verify_locations(revoked)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        except (OSError, ValueError) as error:
            raise ValueError(f"[compute] pki_path: {error}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class _Server(ThreadingTCPServer):
    """A thread for each connection; its handshake, which may be slow, is in that thread, too."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST

    def __init__(self, address: tuple[str, int], pki: Pki, open_disk: OpenDisk) -> None:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        self.address_family = found[0]
        self._pki = pki
        self._open_disk = open_disk
        self._room = Room(MOST, EACH)
        self._rate = Rate(LINES, SECONDS)
        self.stopping = False
        super().__init__(found[4][:2], BaseRequestHandler)  # type: ignore[arg-type]

    def stop(self) -> None:
        """End."""
        self.stopping = True
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, if there is room."""
        if self._room.enter(client_address[0]):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.leave(client_address[0])

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, encrypted."""
        request.settimeout(SILENT_SECONDS)
        with (
            _breaking_off(request, ASKING_SECONDS) as asked,
            self._pki.context().wrap_socket(request, server_side=True) as encrypted,
        ):
            _Handler(self._open_disk, asked, encrypted, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the base's)
        """A connection ended badly: no certificate, or who reads has gone."""
        error = sys.exception()
        if not isinstance(error, OSError):
            LOG.error("A disk could not be given", exc_info=error)
        elif (untold := self._rate.admit(client_address[0])) is not None:
            more = f" ({untold} more were not logged)" if untold else ""
            LOG.info("A connection from %s ended: %s%s", client_address[0], error, more)


@contextmanager
def _breaking_off(connection: socket.socket, seconds: float) -> Iterator[Callable[[], None]]:
    """Shut a connection down after some seconds, unless what is given here is called before.

    A socket's own timeout is for each call: who sends a byte now and then never meets it.
    """
    with connection.dup() as own:  # the encrypted one takes the other over

        def shut_down() -> None:
            with suppress(OSError):
                own.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, shut_down)
        timer.daemon = True
        timer.start()
        try:
            yield timer.cancel
        finally:
            timer.cancel()


class _Handler(BaseHTTPRequestHandler):
    """One request, which is the connection's only one.

    :param asked: called when the request has arrived
    """

    server: _Server
    server_version, sys_version = "Paddock", ""

    def __init__(self, open_disk: OpenDisk, asked: Callable[[], None], *args: Any) -> None:
        self._open = open_disk
        self._asked = asked
        super().__init__(*args)

    def do_GET(self) -> None:
        """Give a disk from some place on."""
        self._asked()
        place, _, query = self.path.partition("?")
        begin = parse_qs(query).get(disk_stream.BEGIN, ["0"])[0]
        if place != tickets.DISK_PATH or not _PLACE.fullmatch(begin):
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            disk = self._open(self.headers.get(tickets.HEADER, ""))
        except StaleEpoch:  # this process has not said hello yet, or another one does
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        except PaddockError as error:
            LOG.warning("No disk was given to %s: %s", self.client_address[0], error)
            self._refuse(HTTPStatus(error.status))
        else:
            with disk:
                self._give(disk, int(begin))

    def _give(self, disk: BinaryIO, begin: int) -> None:
        size = os.fstat(disk.fileno()).st_size
        LOG.info("A disk goes to %s, from byte %s of %s on", self.client_address[0], begin, size)
        self.send_response(HTTPStatus.OK)
        self.send_header(disk_stream.SIZE, str(size))
        self.send_header(disk_stream.DATA, str(run_blocking(data_size, disk)))
        self.end_headers()
        stream = disk_stream.send(disk, begin)
        while not self.server.stopping and (piece := run_blocking(next, stream, b"")):
            self.wfile.write(piece)

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what counts is said above."""
