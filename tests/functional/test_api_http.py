"""The HTTP server itself: over a real socket, with clients that break the rules."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
import requests

from api.entrance import open_entrance
from api.http import HttpServer
from tests.fixtures.cloud import wait_for

LONGEST = 4096
SECONDS = 10
THREADS = 4
LARGE = 32 << 20


class Slow:
    """Answers when it is let; ``/file`` with a file, ``/much`` with much text."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.file = Path("/dev/null")

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        length = len(environ["wsgi.input"].read())
        if environ["PATH_INFO"] == "/slow":
            self.entered.set()
            self.go.wait(SECONDS)
        if environ["PATH_INFO"] == "/file":
            start("200 OK", [("Content-Length", str(LARGE))])
            return environ["wsgi.file_wrapper"](self.file.open("rb"))  # type: ignore[no-any-return]
        start("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/much":
            return [b"x" * (LARGE >> 6)]
        return [str(length).encode()]


def entrance(port: int) -> Callable[[], socket.socket]:
    return partial(open_entrance, "127.0.0.1", port)


@pytest.fixture
def app() -> Slow:
    return Slow()


@pytest.fixture
def server(app: Slow) -> Iterator[HttpServer]:
    server = HttpServer(app, entrance(0), THREADS, LONGEST)
    server.start()
    yield server
    app.go.set()
    server.stop(SECONDS)


def url(server: HttpServer, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def send_raw(server: HttpServer, raw: bytes) -> tuple[str, dict[str, str], bytes]:
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as peer:
        peer.sendall(raw)
        with suppress(ConnectionResetError):  # what it did not read, it may answer so
            while more := peer.recv(65536):
                answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return first.split(" ", 1)[1], {name.lower(): value for name, value in headers.items()}, body


def test_a_request_under_way_is_answered_before_the_server_stops(
    server: HttpServer, app: Slow
) -> None:
    answers: list[requests.Response] = []
    address = url(server, "/slow")
    client = threading.Thread(target=lambda: answers.append(requests.get(address, timeout=SECONDS)))
    client.start()
    assert app.entered.wait(SECONDS)
    stopping = threading.Thread(target=server.stop, args=(SECONDS,))
    stopping.start()
    with pytest.raises(requests.ConnectionError):
        while True:
            requests.get(url(server), timeout=SECONDS)
    app.go.set()
    stopping.join(SECONDS)
    client.join(SECONDS)
    assert answers[0].status_code == 200


def test_a_request_that_hangs_does_not_keep_the_server_from_stopping(
    server: HttpServer, app: Slow
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as peer:
        peer.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert app.entered.wait(SECONDS)
        begun = time.monotonic()
        server.stop(2.0)
        assert time.monotonic() - begun < 4.5


def test_a_server_that_never_started_stops(app: Slow) -> None:
    HttpServer(app, entrance(0), 1, LONGEST).stop(1.0)


def test_a_taken_port_is_an_error(server: HttpServer, app: Slow) -> None:
    with pytest.raises(OSError, match="in use"):
        HttpServer(app, entrance(server.port), 1, LONGEST).start()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", "400 "),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "400 "),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 "),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", "400 "),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 65_600 + b"\r\n\r\n", "431 "),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n", "413 "),
    ],
    ids=["nonsense", "length", "lengths", "header", "headers", "body"],
)
def test_what_is_no_proper_request_gets_a_fault_and_an_id(
    server: HttpServer, raw: bytes, status: str
) -> None:
    first, headers, body = send_raw(server, raw)
    assert first.startswith(status)
    assert headers["x-openstack-request-id"].startswith("req-")
    assert headers["content-type"] == "application/json"
    (fault,) = json.loads(body).values()
    assert fault["message"]
    assert fault["code"] == int(status)
    assert ("shorter than" in fault["message"]) is (status in ("413 ", "431 "))


def test_a_body_too_large_to_be_read_is_refused_in_the_format_asked_for(
    server: HttpServer,
) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n"
    for more in (b"Accept: application/xml\r\n\r\n", b"Content-Type: application/xml\r\n\r\n"):
        first, headers, body = send_raw(server, raw + more)
        assert first.startswith("413 ")
        assert headers["content-type"].startswith("application/xml")
        assert fromstring(body).tag.endswith("overLimit")
    _, headers, _ = send_raw(server, raw + b"Accept: nonsense\r\n\r\n")
    assert headers["content-type"] == "application/json"


def test_a_body_in_chunks_is_read(server: HttpServer) -> None:
    chunks = iter([b"a" * 10, b"b" * 10])
    assert requests.post(url(server), data=chunks, timeout=SECONDS).text == "20"


def test_a_slow_client_takes_no_worker(server: HttpServer) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port), SECONDS) for _ in range(20)]
    try:
        for peer in slow:
            peer.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        assert requests.get(url(server), timeout=SECONDS).status_code == 200
    finally:
        for peer in slow:
            peer.close()


@pytest.mark.parametrize(("path", "times"), [("/file", 2), ("/much", 60)])
def test_clients_that_ask_for_much_at_once_and_read_none_of_it_take_no_worker(
    server: HttpServer, app: Slow, tmp_path: Path, path: str, times: int
) -> None:
    app.file = tmp_path / "large"
    with app.file.open("wb") as file:
        file.truncate(LARGE)
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with ExitStack() as greedy:
        for _ in range(2 * THREADS):
            peer = socket.create_connection(("127.0.0.1", server.port), SECONDS)
            greedy.enter_context(peer).sendall(request * times)
            assert peer.recv(1) == b"H"
        channels = server._server.active_channels
        wait_for(lambda: not any(one.requests for one in [*channels.values()]), "rest", SECONDS)
        assert requests.get(url(server), timeout=SECONDS).text == "0"


def test_a_client_that_reads_gets_all_of_a_large_file(
    server: HttpServer, app: Slow, tmp_path: Path
) -> None:
    app.file = tmp_path / "large"
    app.file.write_bytes(bytes(range(256)) * (LARGE >> 8))
    assert requests.get(url(server, "/file"), timeout=SECONDS).content == app.file.read_bytes()
