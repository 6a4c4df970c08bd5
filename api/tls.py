"""TLS for the HTTP server, whose library has none: encryption between a channel and its socket.

A channel's socket is wrapped in one that encrypts in memory and never waits, so a handshake that is
slow, or never ends, costs no thread: the loop goes on with it when bytes have come.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from oslo_config import cfg
from waitress.channel import HTTPChannel

from paddock.certificates import read
from paddock.drafts import refuse_shared

LOG = logging.getLogger(__name__)
HANDSHAKE_SECONDS = 10.0
PIECE = 65536
"""Bytes that are encrypted ahead of what the network takes, at most."""


class Certificate:
    """The certificate and the key that the options of the API name.

    :param options: the group ``[api]``
    """

    def __init__(self, options: cfg.ConfigOpts) -> None:
        self._options = options
        self._last: ssl.SSLContext | None = None

    @property
    def wanted(self) -> bool:
        """Whether the API is to speak TLS."""
        return bool(self._options.tls_certificate or self._options.tls_key)

    def context(self) -> ssl.SSLContext | None:
        """What new connections are encrypted with, of the files as they are now; None without TLS.

        A process that replaces another one goes on with what that had when the files are not right.

        :raises ValueError: they are not, and never were; the text is one sentence
        """
        if not self.wanted:
            return None
        try:
            self._last = self._read()
        except ValueError as error:
            if self._last is None:
                raise
            LOG.error("The former certificate stays in use: %s", error)
        return self._last

    def _read(self) -> ssl.SSLContext:
        certificate, key = self._options.tls_certificate, self._options.tls_key
        if not (certificate and key):
            raise ValueError("[api] tls_certificate and [api] tls_key must be set both or not.")
        if (self._options.public_url or "https://").startswith("http:"):
            raise ValueError("[api] public_url must begin with https: where tls_certificate is set")
        for option, path, check in (
            ("tls_certificate", certificate, read),
            ("tls_key", key, refuse_shared),
        ):
            try:
                check(Path(path))
            except (OSError, ValueError) as error:
                raise ValueError(f"[api] {option}: {error}") from None
        return _load(certificate, key)


def _load(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # Without a password to try, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:  # an SSLError is one
        raise ValueError(
            f"[api] tls_key: {key} must be the key of {certificate}, without a passphrase"
            f" ({getattr(error, 'reason', None) or error.strerror})"
        ) from None
    return context


class TlsSocket:
    """A connected socket that encrypts what is sent and decrypts what is received.

    Threads may send while the loop receives. Nothing here waits.

    :ivar shaken: the handshake is over
    :ivar ended: the peer sends nothing more
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = plain
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._lock = threading.Lock()
        self._read = b""
        self._unsent = bytearray()
        self._owed = 0
        self._broken = False
        self.shaken = False
        self.ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def take(self, size: int) -> bool:
        """Take so many bytes off the network; whether there is something to :meth:`recv`."""
        with self._lock:
            try:
                self._take(size)
            except OSError:  # among them what is wrong with the peer's TLS
                self._broken = self.ended = True
            with suppress(OSError):
                self._drain()
            return bool(self._read or self.ended)

    def recv(self, _size: int) -> bytes:
        """All that was decrypted; nothing when the peer has ended."""
        with self._lock:
            read, self._read = self._read, b""
            return read

    def send(self, data: bytes) -> int:
        """Encrypt and send some of this; after a refusal it must be offered anew.

        :raises BlockingIOError: the network does not take it all now
        :raises ConnectionAbortedError: the connection is broken
        """
        with self._lock:
            if not self._owed:
                try:
                    self._owed = self._tls.write(memoryview(data)[:PIECE])
                except ssl.SSLError as error:
                    raise ConnectionAbortedError(errno.ECONNABORTED, str(error)) from None
            self._drain()
            sent, self._owed = self._owed, 0
            return sent

    def waits(self) -> bool:
        """Whether something that is encrypted has yet to be sent."""
        return bool(self._unsent or self._outgoing.pending)

    def flush(self) -> None:
        """Send what waits, as far as the network takes it; OSError when it is broken."""
        with self._lock, suppress(BlockingIOError):
            self._drain()

    def close(self) -> None:
        """Tell the peer that nothing more comes, if that needs no wait."""
        with self._lock:
            if self.shaken and not self._broken:
                with suppress(OSError):
                    self._tls.unwrap()
                with suppress(OSError):
                    self._drain()
        self._socket.close()

    def _take(self, size: int) -> None:
        with suppress(BlockingIOError):
            if came := self._socket.recv(size):
                self._incoming.write(came)
            else:  # requests say themselves how long they are, so none can be cut short
                self.ended = True
        with suppress(ssl.SSLWantReadError):
            if not self.shaken:
                self._tls.do_handshake()
                self.shaken = True
            while data := self._tls.read(PIECE):
                self._read += data
            self.ended = True  # the peer said so

    def _drain(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            del self._unsent[: self._socket.send(self._unsent)]


class TlsChannel(HTTPChannel):  # type: ignore[misc]
    """A connection of the HTTP server's that is encrypted; its server has the ``tls`` context."""

    def __init__(self, server: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        self._tls = TlsSocket(sock, server.tls)
        super().__init__(server, self._tls, *args, **kwargs)

    def readable(self) -> bool:
        """Whether more may come; a handshake that takes too long ends here."""
        if not self._tls.shaken and time.time() - self.creation_time > HANDSHAKE_SECONDS:
            self.will_close = True
        return bool(super().readable() and not self._tls.ended)

    def writable(self) -> bool:
        """Whether there is something to send, or to close."""
        return bool(super().writable() or self._tls.waits() or self._is_over())

    def handle_read(self) -> None:
        """Go on with the handshake, or hand on what was decrypted."""
        if self._tls.take(self.adj.recv_bytes):
            super().handle_read()

    def handle_write(self) -> None:
        """Send what waits; close what the peer has ended when it has its answers."""
        try:
            self._tls.flush()
        except OSError:
            self.handle_close()
            return
        if self._is_over():
            self.handle_close()
        else:
            super().handle_write()

    def _is_over(self) -> bool:
        return bool(self._tls.ended and not (self.requests or self.total_outbufs_len))
