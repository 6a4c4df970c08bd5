"""An image comes from the API whole, or not at all, whatever the connection does."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from compute_agent.drivers.base import UNWATCHED, Work
from compute_agent.image_source import ImageDownloads
from compute_agent.images import ImageCache, image_cache
from compute_agent.parts import Parts
from paddock import config, tickets
from paddock.errors import HypervisorError, WorkCancelled
from paddock.records import ImageSpec

CONTENT = os.urandom(2_500_000)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()
SPEC = ImageSpec(
    id="i", name="test", file="f", disk_format="raw", checksum=CHECKSUM, ticket="the ticket",
    size=len(CONTENT),
)  # fmt: skip


class Request(BaseHTTPRequestHandler):
    """Answers as the test says: bytes to claim, bytes to send, status; the last for ever."""

    answers: list[tuple[int, bytes, int]]
    asked: list[str]
    hold = threading.Event()

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers[tickets.HEADER]}")
        answers = self.answers
        claimed, sent, status = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(claimed))
        if status == 503:
            self.send_header("Retry-After", "0")
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(sent)
        if status == 200 and claimed > len(sent):
            self.hold.wait(10)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def asked() -> Iterator[list[str]]:
    Request.asked = []
    Request.hold.set()
    yield Request.asked
    Request.hold.set()


@pytest.fixture
def cache(tmp_path: Path, asked: list[str]) -> Iterator[ImageCache]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        yield ImageCache(ImageDownloads(url, None, tmp_path), tmp_path)
        Request.hold.set()
        server.shutdown()
        thread.join()


def whole(content: bytes) -> tuple[int, bytes, int]:
    return (len(content), content, 200)


def test_it_is_asked_for_once_with_its_ticket(cache: ImageCache, asked: list[str]) -> None:
    Request.answers = [whole(CONTENT)]
    seen: list[tuple[int, int]] = []
    work = Work(lambda done, total: seen.append((done, total)), lambda: None)
    assert cache.raw(SPEC, Parts(work)).read_bytes() == CONTENT
    assert cache.file(SPEC).read_bytes() == CONTENT
    assert asked == [f"{tickets.PATH}/{CHECKSUM} the ticket"]
    assert seen == sorted(seen)


def test_a_broken_connection_and_an_api_that_restarts_are_tried_again(
    cache: ImageCache, asked: list[str]
) -> None:
    cut = (len(CONTENT), CONTENT[:1_200_000], 200)
    Request.answers = [cut, (0, b"", 503), (0, b"", 503), whole(CONTENT)]
    assert cache.file(SPEC).read_bytes() == CONTENT
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((9, b"not found", 404), "it answered 404"),
        ((0, b"", 302), "it answered 302"),
        ((len(CONTENT), CONTENT[:1000], 200), "IncompleteRead"),
        (whole(CONTENT[:-1]), "bytes that it should"),
        (whole(CONTENT + b"x"), "bytes that it should"),
        (whole(CONTENT[:-1] + b"?"), "checksum"),
    ],
)
def test_what_is_not_the_image_is_refused_and_none_of_it_used(
    cache: ImageCache, tmp_path: Path, answer: tuple[int, bytes, int], why: str
) -> None:
    Request.answers = [answer]
    with pytest.raises(HypervisorError, match=why):
        cache.file(SPEC)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_settings_that_are_wrong_are_a_failure_with_a_reason(tmp_path: Path) -> None:
    source = ImageDownloads("https://127.0.0.1:1", str(tmp_path / "no-such-file"), tmp_path)
    with pytest.raises(HypervisorError, match="could not be had from the API"):
        source.find(SPEC, UNWATCHED)


def test_the_hypervisors_user_gets_to_a_kernel_that_it_is_given_and_to_no_other_image(
    cache: ImageCache, asked: list[str], tmp_path: Path
) -> None:
    Request.answers = [whole(CONTENT)]
    assert cache.file(SPEC).stat().st_mode & 0o777 == 0o600
    image_cache(config.load(), tmp_path / "images")
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o711


def test_a_disk_that_takes_nothing_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    source = ImageDownloads("http://127.0.0.1:1", None, tmp_path / "not-there")
    with pytest.raises(HypervisorError, match=r"could not be had from the API: .*No such file"):
        source.find(SPEC, UNWATCHED)


def test_it_can_be_stopped_while_the_api_is_silent(cache: ImageCache, tmp_path: Path) -> None:
    Request.answers = [(len(CONTENT), CONTENT[:1000], 200)]
    Request.hold.clear()

    def check() -> None:
        if Request.asked:
            raise WorkCancelled("no longer listed")

    with pytest.raises(WorkCancelled):
        cache.file(SPEC, Work(lambda *_: None, check))
    assert not list(tmp_path.iterdir())


def test_a_checksum_that_is_none_names_no_file(cache: ImageCache) -> None:
    odd: Callable[[str], ImageSpec] = lambda text: ImageSpec(  # noqa: E731
        id="i", name="test", file="f", disk_format="raw", checksum=text
    )
    for text in ("", "../x", "A" * 64, "0" * 63):
        with pytest.raises(HypervisorError, match="sha256"):
            cache.file(odd(text))
