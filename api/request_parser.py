"""What is taken for a request on the wire: only what every other server would read alike.

Where RFC 9112 lets a server be lenient, a proxy before it may have read the same bytes as another
request; all of that is refused, and the connection closed. Each look at a line takes time in
proportion to its length.
"""

from __future__ import annotations

import re
from collections import Counter
from http import HTTPStatus
from typing import Any

from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error

LONGEST_LINE = 8192
MOST_HEADERS = 100
_FIRST = re.compile(rb"[A-Z]{1,20} /[!\"$-~]* HTTP/1\.[01]")
_HEADER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")
_NUMBER = re.compile(rb"[0-9]{1,18}")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}\r\n")
_LONGEST_SIZE = 10
_END = b"\r\n"


class Refusal(Error):  # type: ignore[misc]
    """Why a request is refused before it reaches the application; the connection is closed."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.reason = HTTPStatus(code).phrase


class RequestParser(HTTPRequestParser):  # type: ignore[misc]
    """Reads one request off the wire."""

    path = ""
    body_rcv: Any = None

    def received(self, data: bytes) -> int:
        """Take bytes; gives how many were used."""
        if self.body_rcv is None and not self.completed:
            head = (self.header_plus + data).partition(_END * 2)[0]
            if refusal := _check_shape(head):
                self._refuse(refusal)
                return len(data)
        used: int = super().received(data)
        return used

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head of a request, or note why it is refused."""
        first, *lines = header_plus.rstrip(_END).split(_END)
        if refusal := _check_first(first) or _check_lines(lines) or _check_length(first, lines):
            self._refuse(refusal)
            return
        super().parse_header(header_plus)
        if self.chunked:
            self.body_rcv = Chunks(OverflowableBuffer(self.adj.inbuf_overflow))
        if not (self.chunked or 0 < self.content_length < self.adj.max_request_body_size):
            self.expect_continue = False  # no body is waited for

    def _refuse(self, refusal: Refusal) -> None:
        self.error = refusal
        self.completed = True


class Chunks:
    """A body that comes in chunks: sizes alone, without extensions and trailers.

    :param buffer: where the body is kept
    """

    def __init__(self, buffer: OverflowableBuffer) -> None:
        self._buffer = buffer
        self._left = 0
        self._line = b""
        self._wants_size = True
        self._last = False
        self.completed = False
        self.error: Refusal | None = None

    def __len__(self) -> int:
        return int(self._buffer.__len__())

    def received(self, data: bytes) -> int:
        """Take bytes of the body; gives how many were used."""
        rest = data
        while rest and not (self.completed or self.error):
            rest = self._take_data(rest) if self._left else self._take_line(rest)
        return len(data) - len(rest)

    def getfile(self) -> OverflowableBuffer:
        """The body, to be read."""
        return self._buffer.getfile()

    def getbuf(self) -> OverflowableBuffer:
        """The body's buffer."""
        return self._buffer

    def _take_data(self, rest: bytes) -> bytes:
        part = rest[: self._left]
        self._buffer.append(part)
        self._left -= len(part)
        return rest[len(part) :]

    def _take_line(self, rest: bytes) -> bytes:
        head, newline, tail = rest.partition(b"\n")
        self._line += head + newline
        if newline and self._is_right():
            self._line = b""
        elif newline or len(self._line) >= _LONGEST_SIZE:
            self.error = Refusal(
                400, "A chunk must have its size in hexadecimal digits and end after so many bytes."
            )
        return tail

    def _is_right(self) -> bool:
        """Whether the line is what must come now; goes on to what comes next."""
        if not self._wants_size:
            self._wants_size, self.completed = True, self._last
            return self._line == _END
        self._wants_size = False
        if not _SIZE.fullmatch(self._line):
            return False
        self._left = int(self._line, 16)
        self._last = not self._left
        return True


def _check_shape(head: bytes) -> Refusal | None:
    """What can be said before the head has come whole."""
    lines = head.removesuffix(b"\r")
    if lines.count(b"\n") != lines.count(_END) or lines.count(b"\r") != lines.count(_END):
        return Refusal(400, "Lines of the request's head must end with CR and LF.")
    first = lines.lstrip(_END)
    if first and not first[:1].isupper():
        return Refusal(400, "The request must begin with METHOD /path HTTP/1.1.")
    return None


def _check_first(line: bytes) -> Refusal | None:
    if len(line) > LONGEST_LINE:
        return Refusal(414, f"The URL must be shorter than {LONGEST_LINE - 32} bytes.")
    if not _FIRST.fullmatch(line):
        return Refusal(
            400, "The request must begin with METHOD /path HTTP/1.1, the path percent-encoded."
        )
    return None


def _check_lines(lines: list[bytes]) -> Refusal | None:
    if len(lines) > MOST_HEADERS:
        return Refusal(431, f"There must be at most {MOST_HEADERS} headers.")
    if not all(_HEADER.fullmatch(line) for line in lines):
        return Refusal(400, "A header must be Name: value in one line, without control characters.")
    return None


def _check_length(first: bytes, lines: list[bytes]) -> Refusal | None:
    """What tells where the request ends and whom it is for must be told once."""
    pairs = [line.split(b":", 1) for line in lines]
    headers = {name.lower(): value.strip(b" \t") for name, value in pairs}
    times = Counter(name.lower() for name, _ in pairs)
    old = first.endswith(b"1.0")
    if times[b"host"] != 1 and not (old and not times[b"host"]):
        return Refusal(400, "There must be exactly one Host header.")
    if times[b"content-length"] and (
        times[b"content-length"] > 1 or not _NUMBER.fullmatch(headers[b"content-length"])
    ):
        return Refusal(400, "Content-Length must come once and be a number of bytes.")
    coding = times[b"transfer-encoding"]
    if coding and (
        old
        or coding > 1
        or times[b"content-length"]
        or headers[b"transfer-encoding"].lower() != b"chunked"
    ):
        return Refusal(400, "Transfer-Encoding must be chunked, once, without Content-Length.")
    return None
