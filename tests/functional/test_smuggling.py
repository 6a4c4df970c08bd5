"""What is not read alike by every server is refused on the wire, and limits hold there."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from api.entrance import open_entrance
from api.http import HttpServer
from tests.fixtures.cloud import wait_for

LONGEST = 4096
SECONDS = 10
PATIENCE = 1
LARGE = b"x" * (8 << 20)
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"POST /first HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /first HTTP/1.1\r\nHost: a\r\n"
CODING = b"Transfer-Encoding: chunked\r\n"
CHUNKED = HEAD + CODING + b"\r\n"
NOTHING = b"0\r\n\r\n"
AMBIGUOUS: dict[str, bytes] = {
    "length and chunked": HEAD + b"Content-Length: 5\r\n" + CODING + b"\r\n" + NOTHING,
    "chunked and length": HEAD + CODING + b"Content-Length: 40\r\n\r\n" + NOTHING,
    "chunked twice": HEAD + CODING + CODING + b"\r\n" + NOTHING,
    "chunked and identity": HEAD + CODING + b"Transfer-Encoding: identity\r\n\r\n" + NOTHING,
    "chunked, chunked": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + NOTHING,
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + NOTHING,
    "a coding with a tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + NOTHING,
    "a coding in quotes": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n' + NOTHING,
    "no coding": HEAD + b"Transfer-Encoding:\r\n\r\n" + NOTHING,
    "chunked in HTTP/1.0": b"POST /first HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + NOTHING,
    "a folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + NOTHING,
    "a folded header": GET + b"X: a\r\n\tb\r\n\r\n",
    "a fold before all headers": b"GET /first HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
    "a space before the colon": HEAD + b"Content-Length : 0\r\n\r\n",
    "a tab before the colon": HEAD + b"Transfer-Encoding\t: chunked\r\n\r\n" + NOTHING,
    "a NUL in a name": HEAD + b"Content-Length\x00: 0\r\n\r\n",
    "a NUL in a value": GET + b"X: a\x00b\r\n\r\n",
    "a header without a name": GET + b": a\r\n\r\n",
    "a header without a colon": GET + b"X\r\n\r\n",
    "a bare LF after a header": HEAD + b"X: a\nContent-Length: 40\r\n\r\n",
    "a bare CR in a header": HEAD + b"X: a\rContent-Length: 40\r\n\r\n",
    "bare LFs": b"GET /first HTTP/1.1\nHost: a\n\n",
    "a bare LF after the first line": b"GET /first HTTP/1.1\nHost: a\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
    "the same length twice": HEAD + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": HEAD + b"Content-Length: 0, 0\r\n\r\n",
    "a length with a sign": HEAD + b"Content-Length: +0\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length with a space": HEAD + b"Content-Length: 0 0\r\n\r\n",
    "a length with an underscore": HEAD + b"Content-Length: 0_0\r\n\r\n",
    "a length in hexadecimal": HEAD + b"Content-Length: 0x0\r\n\r\n",
    "an endless length": HEAD + b"Content-Length: " + b"0" * 5000 + b"\r\n\r\n",
    "no length": HEAD + b"Content-Length:\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "no host": b"GET /first HTTP/1.1\r\n\r\n",
    "another server": b"GET http://elsewhere/first HTTP/1.1\r\nHost: a\r\n\r\n",
    "an authority": b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "the server itself": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /first#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /first\r\n\r\n",
    "HTTP/1.2": b"GET /first HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version in lower case": b"GET /first http/1.1\r\nHost: a\r\n\r\n",
    "a method in lower case": b"get /first HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  /first HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab for a space": b"GET\t/first HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in the path": b"GET /first x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space at the end": b"GET /first HTTP/1.1 \r\nHost: a\r\n\r\n",
    "a space at the beginning": b" GET /first HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes in the path": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64 + b"\r\n\r\n",
    "an extension of a chunk": CHUNKED + b"1;a=b\r\nx\r\n" + NOTHING,
    "an extension with a bare LF": CHUNKED + b"1;a\nx\r\n1\r\ny\r\n" + NOTHING,
    "a size with a bare LF": CHUNKED + b"1\nx\r\n" + NOTHING,
    "a size with LF and CRLF": CHUNKED + b"1\n\r\nx\r\n" + NOTHING,
    "a size with 0x": CHUNKED + b"0x1\r\nx\r\n" + NOTHING,
    "a size with a sign": CHUNKED + b"+1\r\nx\r\n" + NOTHING,
    "a size with a space": CHUNKED + b"1 \r\nx\r\n" + NOTHING,
    "a size beyond all": CHUNKED + b"1" + b"0" * 20 + b"\r\nx\r\n",
    "a size beyond 64 bits": CHUNKED + b"10000000000000001\r\nx\r\n" + NOTHING,
    "no size": CHUNKED + b"\r\n" + NOTHING,
    "a chunk that is longer": CHUNKED + b"1\r\nxyz\r\n" + NOTHING,
    "a chunk without an end": CHUNKED + b"1\r\nx" + NOTHING,
    "a trailer": CHUNKED + b"0\r\nContent-Length: 40\r\n\r\n",
}  # fmt: skip
PLAIN: dict[str, tuple[bytes, list[str]]] = {
    "requests one after the other": (GET + b"\r\n" + NEXT, ["/first 0", "/smuggled 0"]),
    "a body with a request": (
        HEAD + b"Content-Length: %d\r\n\r\n" % len(NEXT) + NEXT, [f"/first {len(NEXT)}"]
    ),
    "chunks with a request": (
        CHUNKED + b"%x\r\n" % len(NEXT) + NEXT + b"\r\n" + NOTHING, [f"/first {len(NEXT)}"]
    ),
    "a size with zeros and capitals": (CHUNKED + b"00A\r\n0123456789\r\n" + NOTHING, ["/first 10"]),
    "empty lines before it": (b"\r\n\r\n" + GET + b"\r\n", ["/first 0"]),
    "a coding with capitals": (
        HEAD + b"transfer-ENCODING: \tChunked \r\n\r\n" + NOTHING, ["/first 0"]
    ),
    "a header's name with an underscore": (GET + b"Content_Length: 40\r\n\r\n", ["/first 0"]),
    "a wish to continue without a body": (
        GET + b"Expect: 100-continue\r\n\r\n" + NEXT, ["/first 0", "/smuggled 0"]
    ),
}  # fmt: skip
LIMITS: dict[str, tuple[bytes, int]] = {
    "a URL of a megabyte": (b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    "a URL of 10 KiB": (b"GET /" + b"a" * 10240 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a header of a megabyte": (GET + b"X: " + b"a" * (1 << 20) + b"\r\n\r\n", 431),
    "ten thousand headers": (GET + b"X: a\r\n" * 10000 + b"\r\n", 431),
    "a hundred headers more": (GET + b"X: a\r\n" * 100 + b"\r\n", 431),
    "a body of a gigabyte": (HEAD + b"Content-Length: 1073741824\r\n\r\n", 413),
    "a gigabyte that waits": (
        HEAD + b"Expect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n", 413
    ),
    "chunks without end": (CHUNKED + b"400\r\n" + (b"x" * 1024 + b"\r\n400\r\n") * 1024, 413),
    "small chunks without end": (CHUNKED + b"1\r\nx\r\n" * 200_000, 413),
    "a gigabyte of a chunk": (CHUNKED + b"40000000\r\n" + b"x" * (1 << 20), 413),
}  # fmt: skip
SLOW_TO_READ: dict[str, bytes] = {
    "spaces and a control character": GET + b"X:" + b" " * 60_000 + b"\x01\r\n\r\n",
    "a URL with spaces": b"GET a://" + b"a" * 60_000 + b" x y\r\nHost: a\r\n\r\n",
    "one name many times": GET + b"X: " + b"a" * 600 + (b"\r\nX: " + b"a" * 600) * 90 + b"\r\n\r\n",
}


class Recorder:
    """A WSGI application that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        length = len(environ["wsgi.input"].read())
        self.asked.append(f"{environ['PATH_INFO']} {length}")
        body = LARGE if environ["PATH_INFO"] == "/large" else b"fine"
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[HttpServer, Recorder]]:
    app = Recorder()
    entrance = partial(open_entrance, "127.0.0.1", 0)
    server = HttpServer(app, entrance, 2, LONGEST, patience=PATIENCE)
    server.start()
    yield server, app
    server.stop(SECONDS)


@pytest.fixture
def server(served: tuple[HttpServer, Recorder]) -> HttpServer:
    return served[0]


@pytest.fixture
def app(served: tuple[HttpServer, Recorder]) -> Recorder:
    served[1].asked.clear()
    return served[1]


def send(server: HttpServer, raw: bytes) -> bytes:
    """All that is answered to some bytes until the connection is closed."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as peer:
        with suppress(ConnectionError):  # it need not read all of it
            peer.sendall(raw)
        with suppress(ConnectionResetError):
            while more := peer.recv(65536):
                answer += more
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"(?:^|[^\r\n])HTTP/1\.[01] ([0-9]{3}) ", answer)]


def message(answer: bytes) -> str:
    (fault,) = json.loads(answer.partition(b"\r\n\r\n")[2]).values()
    text: str = fault["message"]
    return text


@pytest.mark.parametrize("shape", AMBIGUOUS)
def test_what_others_might_read_otherwise_is_refused_and_ends_the_connection(
    server: HttpServer, app: Recorder, shape: str
) -> None:
    begun = time.monotonic()
    answer = send(server, AMBIGUOUS[shape] + NEXT)
    assert statuses(answer) == [400], answer
    assert b"\r\nConnection: close\r\n" in answer
    assert message(answer)
    assert app.asked == []
    assert time.monotonic() - begun < PATIENCE, "at once, not when the time is over"


@pytest.mark.parametrize("shape", AMBIGUOUS)
def test_it_is_refused_byte_by_byte_too(server: HttpServer, app: Recorder, shape: str) -> None:
    raw = AMBIGUOUS[shape]
    if len(raw) > 1000:
        return
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):
            for place in range(len(raw)):
                peer.sendall(raw[place : place + 1])
        answer = b""
        with suppress(ConnectionResetError):
            while more := peer.recv(65536):
                answer += more
    assert statuses(answer) in ([400], [])  # what was sent to a closed connection may hide it
    assert app.asked == []


@pytest.mark.parametrize("shape", PLAIN)
def test_what_all_read_alike_is_answered_once_each(
    server: HttpServer, app: Recorder, shape: str
) -> None:
    raw, asked = PLAIN[shape]
    answer = send(server, raw)  # an idle connection is closed after the patience
    assert app.asked == asked
    assert statuses(answer) == [200] * len(asked)


@pytest.mark.parametrize("shape", LIMITS)
def test_what_is_too_large_is_refused_with_a_sentence(
    server: HttpServer, app: Recorder, shape: str
) -> None:
    raw, status = LIMITS[shape]
    answer = send(server, raw)
    assert statuses(answer) == [status]
    assert re.search("shorter than [0-9]+ bytes|at most [0-9]+ headers", message(answer))
    assert app.asked == []


@pytest.mark.parametrize("shape", SLOW_TO_READ)
def test_no_line_takes_long_to_be_read(server: HttpServer, shape: str) -> None:
    begun = time.monotonic()
    send(server, SLOW_TO_READ[shape])
    assert time.monotonic() - begun < PATIENCE + 2


@pytest.mark.parametrize(
    "raw",
    [b"GET /first HTTP/1.1\r\nX: ", HEAD + b"Content-Length: 1000\r\n\r\n", CHUNKED + b"3E8\r\n",
     HEAD + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"],
    ids=["head", "body", "chunk", "after 100"],
)  # fmt: skip
def test_a_request_that_comes_byte_by_byte_ends_after_its_time(
    server: HttpServer, app: Recorder, raw: bytes
) -> None:
    begun = time.monotonic()
    answer = b""
    address = ("127.0.0.1", server.port)
    with suppress(ConnectionError), socket.create_connection(address, 0.1) as peer:
        peer.sendall(raw)
        while time.monotonic() - begun < SECONDS:
            peer.sendall(b"x")
            with suppress(TimeoutError):
                if not (more := peer.recv(65536)):
                    break
                answer += more
    assert time.monotonic() - begun < PATIENCE + 3
    assert statuses(answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")) == [408]
    assert app.asked == []


def test_a_length_that_is_too_long_ends_after_its_time(server: HttpServer, app: Recorder) -> None:
    answer = send(server, HEAD + b"Content-Length: 1000\r\n\r\nshort")
    assert statuses(answer) == [408]
    assert f"within {PATIENCE} s" in message(answer)
    assert app.asked == []


def test_a_length_that_is_too_short_makes_the_rest_another_request(
    server: HttpServer, app: Recorder
) -> None:
    answer = send(server, HEAD + b"Content-Length: 2\r\n\r\nxyz: 1\r\n\r\n")
    assert statuses(answer) == [200, 400]
    assert app.asked == ["/first 2"]


def test_many_slow_connections_leave_room_for_others(server: HttpServer, app: Recorder) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port), SECONDS) for _ in range(300)]
    try:
        for peer in slow:
            peer.sendall(b"GET /slow HTTP/1.1\r\nX: ")
        answers: list[bytes] = []
        quick = threading.Thread(target=lambda: answers.append(send(server, GET + b"\r\n")))
        quick.start()
        quick.join(SECONDS)
        assert statuses(answers[0]) == [200]
    finally:
        for peer in slow:
            peer.close()


def take(server: HttpServer, piece: int, pause: float) -> int:
    """Bytes of a large answer that a client gets that takes it piece by piece."""
    taken = 0
    with socket.socket() as peer, suppress(ConnectionError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.settimeout(SECONDS)
        peer.connect(("127.0.0.1", server.port))
        peer.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        end = time.monotonic() + 7 * PATIENCE
        while more := peer.recv(piece):
            taken += len(more)
            if time.monotonic() < end:
                time.sleep(pause)
    return taken


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(server: HttpServer) -> None:
    assert take(server, 200_000, 0.1) > len(LARGE)


def test_a_client_that_hardly_takes_its_answer_is_let_go(server: HttpServer) -> None:
    assert take(server, 10, 0.05) < len(LARGE)


def test_a_client_that_takes_nothing_of_its_answer_is_let_go(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as peer:
        peer.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" * 9)
        assert peer.recv(1) == b"H"
        open_ones = server._server.active_channels
        mine = peer.getsockname()
        wait_for(lambda: mine not in [one.addr for one in [*open_ones.values()]], "end", SECONDS)
