"""The API over TLS: real sockets, clients that verify, and clients that break the rules."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from requests.adapters import HTTPAdapter

from api import tls
from api.cmd import prepare
from api.entrance import open_entrance
from api.http import HttpServer
from devstack.ports import free_ports
from devstack.processes import family, is_running
from paddock import config, runtime
from tests.fixtures.certificates import Certificates
from tests.fixtures.cloud import wait_for

SECONDS = 30.0
LONGEST = 4 << 20
LARGE = 6 << 20
REQUEST = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Echo:
    """Answers with what it was sent, or with the path; ``/slow`` when it is let, ``/file`` with
    a file."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.schemes: set[str] = set()
        self.file = Path("/dev/null")

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read() or environ["PATH_INFO"].encode()
        self.schemes.add(environ["wsgi.url_scheme"])
        if environ["PATH_INFO"] == "/slow":
            self.entered.set()
            self.go.wait(SECONDS)
        if environ["PATH_INFO"] == "/file":
            start("200 OK", [("Content-Length", str(LARGE))])
            return environ["wsgi.file_wrapper"](self.file.open("rb"))  # type: ignore[no-any-return]
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture
def app() -> Echo:
    return Echo()


def options(directory: Path, **values: object) -> Any:
    """The group ``[api]`` with a certificate's files."""
    files = {"tls_certificate": directory / "cert.pem", "tls_key": directory / "key.pem"}
    return config.load(overrides={"api": {k: str(v) for k, v in (files | values).items()}}).api


@pytest.fixture
def server(app: Echo, certificates: Certificates) -> Iterator[HttpServer]:
    context = tls.Certificate(options(certificates.issue("api", "api"))).context()
    server = HttpServer(app, partial(open_entrance, "127.0.0.1", 0), 4, LONGEST, context)
    server.start()
    yield server
    app.go.set()
    server.stop(SECONDS)


class Verifying(HTTPAdapter):
    """Requests with a context of ours: urllib3's own does not work with green threads when it was
    imported before they were chosen."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        context = ssl.create_default_context()
        super().init_poolmanager(*args, ssl_context=context, **kwargs)  # type: ignore[no-untyped-call]


@contextmanager
def believing(ca: Path) -> Iterator[requests.Session]:
    """A client that believes this CA only."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(ca)
        session.mount("https://", Verifying())
        yield session


@pytest.fixture
def client(certificates: Certificates) -> Iterator[requests.Session]:
    with believing(certificates.ca) as session:
        yield session


def url(server: HttpServer, path: str = "/") -> str:
    return f"https://127.0.0.1:{server.port}{path}"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), SECONDS)


@contextmanager
def encrypted(server: HttpServer, certificates: Certificates) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with (
        connect(server.port) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as peer,
    ):
        yield peer


def read_all(peer: socket.socket) -> bytes:
    """What comes until the server ends."""
    answer = b""
    with suppress(ConnectionResetError):
        while more := peer.recv(65536):
            answer += more
    return answer


def ask(peer: socket.socket, number: int) -> bytes:
    """The body of the answer to a request."""
    peer.sendall(REQUEST % number)
    answer = b""
    while (parts := answer.partition(b"\r\n\r\n"))[2] == b"":
        more = peer.recv(65536)
        assert more, answer
        answer += more
    return parts[2]


def test_clients_that_verify_are_served_and_told_https(
    server: HttpServer, client: requests.Session, app: Echo
) -> None:
    assert client.get(url(server, "/one"), timeout=SECONDS).text == "/one"
    assert app.schemes == {"https"}


def test_clients_that_believe_another_ca_are_not(
    server: HttpServer, strangers: Certificates
) -> None:
    with believing(strangers.ca) as client, pytest.raises(requests.exceptions.SSLError):
        client.get(url(server), timeout=SECONDS)


def test_large_bodies_pass_both_ways(server: HttpServer, client: requests.Session) -> None:
    body = os.urandom(LARGE)
    assert client.post(url(server), data=body, timeout=SECONDS).content == body
    chunks = (body[at : at + 100_000] for at in range(0, LARGE, 100_000))
    assert client.post(url(server), data=chunks, timeout=SECONDS).content == body


def test_a_large_file_passes(
    server: HttpServer, client: requests.Session, app: Echo, tmp_path: Path
) -> None:
    app.file = tmp_path / "large"
    app.file.write_bytes(os.urandom(LARGE))
    got = [client.get(url(server, "/file"), timeout=SECONDS).content for _ in range(3)]
    assert got == [app.file.read_bytes()] * 3


def test_a_client_that_reads_slowly_gets_all(
    server: HttpServer, certificates: Certificates
) -> None:
    body = os.urandom(LARGE)
    with encrypted(server, certificates) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        peer.sendall(head % LARGE + body)
        time.sleep(0.5)  # the network is full meanwhile
        assert read_all(peer).partition(b"\r\n\r\n")[2] == body


def test_a_connection_serves_one_request_after_the_other(
    server: HttpServer, certificates: Certificates
) -> None:
    with encrypted(server, certificates) as peer:
        for number in range(30):
            assert ask(peer, number) == b"/%d" % number


def test_requests_sent_at_once_are_answered_in_their_order(
    server: HttpServer, certificates: Certificates
) -> None:
    with encrypted(server, certificates) as peer:
        last = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        peer.sendall(b"".join(REQUEST % number for number in range(200)) + last)
        answer = read_all(peer)
    bodies = [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [*(b"/%d" % number for number in range(200)), b"/last"]


def test_many_clients_are_served_at_once(server: HttpServer, certificates: Certificates) -> None:
    wrong: list[str] = []

    def ask(number: int) -> None:
        with believing(certificates.ca) as one:
            for _ in range(10):
                body = os.urandom(1 + 40_000 * number)
                got = one.post(url(server), data=body, timeout=SECONDS)
                if got.content != body:
                    wrong.append(f"{number} got {len(got.content)} bytes")

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(SECONDS)
    assert wrong == []


def hello(certificates: Certificates) -> bytes:
    """A client's first message."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="127.0.0.1").do_handshake()
    return out.read()


def test_handshakes_that_never_end_stop_nobody_and_are_closed(
    server: HttpServer, client: requests.Session, certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first = hello(certificates)
    with ExitStack() as open_ones:
        slow = [open_ones.enter_context(connect(server.port)) for _ in range(60)]
        for number, peer in enumerate(slow):
            peer.sendall(first[: number % 3 * 40])
        assert client.get(url(server, "/one"), timeout=5).text == "/one"
        monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.5)
        for peer in slow:
            assert read_all(peer) == b""


def test_a_handshake_that_comes_in_single_bytes_is_one(
    server: HttpServer, certificates: Certificates
) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with connect(server.port) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def pump(step: Callable[[], Any]) -> Any:
            while True:
                with suppress(ssl.SSLWantReadError):
                    done = step()
                    for byte in outgoing.read():
                        peer.sendall(bytes([byte]))
                    return done
                for byte in outgoing.read():
                    peer.sendall(bytes([byte]))
                incoming.write(peer.recv(65536))

        pump(end.do_handshake)
        pump(lambda: end.write(REQUEST % 7))
        assert pump(lambda: end.read(65536)).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + bytes(range(256)) * 300,
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        os.urandom(5000),
        b"",
    ],
    ids=["plain", "overlong", "hello", "noise", "nothing"],
)
def test_what_is_no_tls_is_closed(
    server: HttpServer, client: requests.Session, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    with connect(server.port) as peer:
        with suppress(OSError):
            peer.sendall(raw)
            peer.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in read_all(peer)
    assert client.get(url(server, "/one"), timeout=SECONDS).text == "/one"
    assert caplog.records == []


def test_noise_inside_a_connection_ends_that_connection(
    server: HttpServer, client: requests.Session, certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with encrypted(server, certificates) as peer:
        assert ask(peer, 1) == b"/1"
        with socket.socket(fileno=os.dup(peer.fileno())) as beneath:
            beneath.sendall(os.urandom(2000))
        with suppress(ssl.SSLError):
            assert peer.recv(65536) == b""
    assert client.get(url(server, "/one"), timeout=SECONDS).text == "/one"
    assert caplog.records == []


def test_a_client_that_sends_nothing_more_gets_its_answer(
    server: HttpServer, certificates: Certificates
) -> None:
    with encrypted(server, certificates) as peer:
        peer.sendall(REQUEST % 1)
        with socket.socket(fileno=os.dup(peer.fileno())) as beneath:
            beneath.shutdown(socket.SHUT_WR)
        assert read_all(peer).endswith(b"/1")


def test_a_client_that_says_goodbye_is_answered_so(
    server: HttpServer, certificates: Certificates
) -> None:
    with encrypted(server, certificates) as peer:
        assert ask(peer, 1) == b"/1"
        peer.settimeout(5)
        peer.unwrap().close()


def test_a_client_that_vanishes_in_the_middle_leaves_nothing(
    server: HttpServer, client: requests.Session, certificates: Certificates
) -> None:
    for _ in range(20):
        with encrypted(server, certificates) as peer:
            peer.sendall(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 9
            )
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert client.get(url(server, "/one"), timeout=SECONDS).text == "/one"
    wait_for(lambda: len(server._server.active_channels) <= 1, "the connections' end", SECONDS)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(server: HttpServer, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = version
    with connect(server.port) as plain, pytest.raises(ssl.SSLError, match=r"(?i)version"):
        context.wrap_socket(plain)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_versions_are_served(
    server: HttpServer, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.minimum_version = context.maximum_version = version
    with (
        connect(server.port) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as peer,
    ):
        assert ask(peer, 1) == b"/1"


def test_a_request_under_way_is_answered_before_the_server_stops(
    server: HttpServer, client: requests.Session, app: Echo
) -> None:
    answers: list[requests.Response] = []
    address = url(server, "/slow")
    asking = threading.Thread(target=lambda: answers.append(client.get(address, timeout=SECONDS)))
    asking.start()
    assert app.entered.wait(SECONDS)
    stopping = threading.Thread(target=server.stop, args=(SECONDS,))
    stopping.start()
    wait_for(lambda: not server._server.accepting, "closed entrance", SECONDS)
    app.go.set()
    asking.join(SECONDS)
    stopping.join(SECONDS)
    assert answers[0].status_code == 200


# --- files


@pytest.fixture
def wrong_files(certificates: Certificates, tmp_path: Path) -> dict[str, tuple[Any, Any]]:
    made, other = certificates.issue("api", "api"), certificates.issue("other", "api")
    shared = tmp_path / "shared.pem"
    shared.write_bytes((made / "key.pem").read_bytes())
    shared.chmod(0o640)
    locked = tmp_path / "locked.pem"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", made / "key.pem"]
    subprocess.run([*command, "-out", locked], check=True, capture_output=True)
    locked.chmod(0o600)
    certificate, key = made / "cert.pem", made / "key.pem"
    return {
        "no key": (certificate, ""),
        "no certificate": ("", key),
        "away": (tmp_path / "away.pem", key),
        "key away": (certificate, tmp_path / "away.pem"),
        "swapped": (key, certificate),
        "foreign key": (certificate, other / "key.pem"),
        "shared key": (certificate, shared),
        "locked key": (certificate, locked),
    }


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("no key", "tls_key must be set both"),
        ("no certificate", "tls_key must be set both"),
        ("away", r"\[api\] tls_certificate: .*No such file"),
        ("key away", r"\[api\] tls_key: .*No such file"),
        ("swapped", r"\[api\] tls_certificate: .*no certificate in PEM form"),
        ("foreign key", r"\[api\] tls_key: .* must be the key of"),
        ("shared key", r"\[api\] tls_key: .*owner only"),
        ("locked key", r"\[api\] tls_key: .*without a passphrase"),
    ],
)
def test_files_that_are_not_right_keep_the_api_from_starting(
    wrong_files: dict[str, tuple[Any, Any]], tmp_path: Path, case: str, told: str
) -> None:
    certificate, key = wrong_files[case]
    conf = config.load(overrides=overrides(tmp_path, certificate, key))
    with pytest.raises(ValueError, match=told) as caught:
        prepare(conf)
    assert "\n" not in str(caught.value)


def test_a_public_url_without_tls_keeps_an_api_with_tls_from_starting(
    certificates: Certificates, tmp_path: Path
) -> None:
    made = certificates.issue("api", "api")
    wishes = overrides(tmp_path, made / "cert.pem", made / "key.pem")
    wishes["api"]["public_url"] = "http://cloud.example.org"
    with pytest.raises(ValueError, match="public_url must begin with https"):
        prepare(config.load(overrides=wishes))


def overrides(root: Path, certificate: object, key: object) -> dict[str, dict[str, Any]]:
    return {
        "DEFAULT": {"transport_url": "paddock://test/", "state_path": str(root)},
        "identity": {"key_file": str(root / "token.key")},
        "api": {"tls_certificate": str(certificate), "tls_key": str(key)},
    }


# --- processes


class Process:
    """An API process of its own with its workers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, ca: Path) -> None:
        self.process = process
        self._port = port
        self._context = ssl.create_default_context(cafile=str(ca))

    def workers(self) -> list[int]:
        """The processes that serve."""
        return [pid for pid in family(self.process.pid)[1:] if is_running(pid)]

    def serial(self) -> int | None:
        """The number of the certificate that it shows, once it has answered."""
        try:
            with (
                connect(self._port) as plain,
                self._context.wrap_socket(plain, server_hostname="localhost") as peer,
            ):
                peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                shown = peer.getpeercert(binary_form=True)
                assert b" 200 " in read_all(peer)
        except (ConnectionError, ssl.SSLEOFError):
            return None
        assert shown
        return x509.load_der_x509_certificate(shown).serial_number

    def reload(self) -> None:
        """Have all workers replaced."""
        before = set(self.workers())
        self.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: len(now := set(self.workers())) == len(before) and not now & before,
            "other workers",
            SECONDS,
        )


@pytest.fixture(params=[runtime.THREADING, runtime.EVENTLET])
def process(
    request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates
) -> Iterator[Process]:
    made, port = certificates.issue("api", "api"), free_ports(1)
    path = tmp_path / "api.conf"
    path.write_text(
        f"[DEFAULT]\nhost = api\nstate_path = {tmp_path}\ntransport_url = paddock://test/\n"
        f"[api]\nworkers = 2\nport = {port}\n"
        f"tls_certificate = {made}/cert.pem\ntls_key = {made}/key.pem\n"
        f"[identity]\nkey_file = {tmp_path}/token.key\n"
    )
    command = [sys.executable, "-m", "api.cmd", "--config-file", str(path)]
    environment = os.environ | {runtime.VARIABLE: request.param}
    started = subprocess.Popen(command, start_new_session=True, env=environment)
    api = Process(started, port, certificates.ca)
    try:
        wait_for(lambda: api.serial() and len(api.workers()) == 2, "the API", SECONDS)
        yield api
    finally:
        left = family(started.pid)
        started.terminate()
        started.wait(SECONDS)
        wait_for(lambda: not any(is_running(pid) for pid in left), "the workers' end", SECONDS)


def test_workers_that_replace_others_show_the_certificate_as_it_is_then(
    process: Process, certificates: Certificates
) -> None:
    before = process.serial()
    made = certificates.issue("api", "api")
    assert process.serial() == before
    process.reload()
    after = wait_for(process.serial, "an answer", SECONDS)
    assert after != before
    (made / "key.pem").write_text("nonsense")
    process.reload()
    assert wait_for(process.serial, "an answer", SECONDS) in (before, after)


def test_a_socket_that_was_passed_is_served_encrypted(
    tmp_path: Path, certificates: Certificates
) -> None:
    made = certificates.issue("api", "api")
    path = tmp_path / "api.conf"
    path.write_text(
        f"[DEFAULT]\nhost = api\nstate_path = {tmp_path}\ntransport_url = paddock://test/\n"
        f"[api]\ntls_certificate = {made}/cert.pem\ntls_key = {made}/key.pem\n"
        f"[identity]\nkey_file = {tmp_path}/token.key\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as entrance:
        pass_on = 'exec 3<&"$1"; export LISTEN_FDS=1 LISTEN_PID=$$; shift; exec "$@"'
        number = entrance.fileno()
        command = ["bash", "-c", pass_on, "bash", str(number), sys.executable, "-m", "api.cmd"]
        started = subprocess.Popen([*command, "--config-file", str(path)], pass_fds=[number])
        try:
            api = Process(started, entrance.getsockname()[1], certificates.ca)
            assert wait_for(api.serial, "an answer", SECONDS)
        finally:
            started.terminate()
            started.wait(SECONDS)
