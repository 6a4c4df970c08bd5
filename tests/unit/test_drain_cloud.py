"""How a cloud's API is asked: what is sent again, and what is said of answers that are none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from paddock.cli.cloud import Cloud
from paddock.cli.failure import CloudAway, CommandFailed

Answer = tuple[int, str]
DROPPED: Answer = (0, "")
"""The connection ends and nothing was said."""
DONE: Answer = (200, '{"drain": {}}')


class Api:
    """A web server that gives one answer after the other, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [DONE]
        self.asked: list[tuple[str, str | None]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                api.asked.append((self.command, self.headers.get("Idempotency-Key")))
                status, text = api.answers.pop(0) if len(api.answers) > 1 else api.answers[0]
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text.encode())

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    thread = Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def cloud(api: Api, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The one that answers at the server, without credentials."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("OS_AUTH_TYPE", "none")
    monkeypatch.setenv("OS_ENDPOINT", api.url)
    return Cloud.find(None)


@pytest.mark.parametrize("answer", [DROPPED, (503, "")])
def test_a_request_without_a_key_is_sent_once(api: Api, cloud: Cloud, answer: Answer) -> None:
    api.answers = [answer, DONE]
    with pytest.raises(CloudAway):
        cloud.post("/drains/1/action", {"pause": None})
    assert api.asked == [("POST", None)]


@pytest.mark.parametrize("answer", [DROPPED, (503, "")])
def test_a_request_under_a_key_is_sent_again_under_it(
    api: Api, cloud: Cloud, answer: Answer
) -> None:
    api.answers = [answer, DONE]
    assert cloud.post("/drains", {}, keyed=True) == {"drain": {}}
    first, second = api.asked
    assert first == second
    assert first[1] is not None


def test_a_question_is_asked_again(api: Api, cloud: Cloud) -> None:
    api.answers = [DROPPED, DONE]
    assert cloud.get("/drains/1") == {"drain": {}}


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_before_an_api_that_restarts_tells_that_it_is_away(
    api: Api, cloud: Cloud, status: int
) -> None:
    api.answers = [(status, "<html>")]
    with pytest.raises(CloudAway, match=f"does not answer now: {status}"):
        cloud.get("/drains/1")


@pytest.mark.parametrize("text", ["<html>", "", "[]"])
def test_another_program_than_the_api_is_named(api: Api, cloud: Cloud, text: str) -> None:
    api.answers = [(200, text)]
    with pytest.raises(CommandFailed, match=f"answers at {api.url}/drains is not the compute API"):
        cloud.get("/drains")
