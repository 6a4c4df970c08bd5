"""Guessing passwords over HTTP, behind a proxy that is trusted."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fixtures.cloud import Cloud, credentials

FREE = 4
GUESSER, HONEST = "203.0.113.9", "192.0.2.1"
OPTIONS = {
    "api": {"trusted_proxies": ["127.0.0.1"]},
    "conductor": {"log_in_failures": FREE},
}


@dataclass(frozen=True)
class Answer:
    status: int
    retry_after: str | None
    document: Any


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud that is easily annoyed."""
    made = Cloud(tmp_path_factory.mktemp("cloud"), OPTIONS)
    made.start()
    yield made
    made.stop()


def log_in(cloud: Cloud, forwarded: str, cloud_name: str = "paddock-demo", **user: str) -> Answer:
    """A sign-in as the proxy passes it on."""
    connection = http.client.HTTPConnection("127.0.0.1", cloud.parts.api.http.port, timeout=20)
    headers = {"Content-Type": "application/json", "X-Forwarded-For": forwarded}
    body = json.dumps(credentials(cloud.passwords[cloud_name], **user))
    connection.request("POST", "/identity/v3/auth/tokens", body, headers)
    answer = connection.getresponse()
    found = Answer(answer.status, answer.headers["Retry-After"], json.loads(answer.read()))
    connection.close()
    return found


def guess(cloud: Cloud, address: str, **user: str) -> list[Answer]:
    """The answers to guesses, up to the one that says to wait; each may be late by itself."""
    found: list[Answer] = []
    while len(found) < 3 * FREE and (not found or found[-1].status == 401):
        found.append(log_in(cloud, address, **{"password": "a guess"} | user))
    return found


def test_a_guesser_is_told_to_wait_and_an_honest_user_is_not(cloud: Cloud) -> None:
    *wrong, slowed = guess(cloud, GUESSER)
    assert len(wrong) >= FREE
    assert slowed.status == 429
    assert int(slowed.retry_after or 0) >= 1
    assert slowed.document["error"]["code"] == 429
    assert log_in(cloud, HONEST).status == 201
    assert log_in(cloud, GUESSER, "paddock-other").status == 201


def test_the_limit_ends_by_itself(cloud: Cloud) -> None:
    address = "203.0.113.10"
    slowed = guess(cloud, address)[-1]
    time.sleep(int(slowed.retry_after or 0))
    assert log_in(cloud, address).status == 201
    assert log_in(cloud, address, password="a guess").status == 401


def test_a_guesser_cannot_pretend_to_be_somewhere_else(cloud: Cloud) -> None:
    addresses = (f"198.51.100.{number}, 203.0.113.11" for number in range(3 * FREE))
    answers = [log_in(cloud, address, password="a guess") for address in addresses]
    assert 429 in [answer.status for answer in answers]


def test_the_answers_do_not_tell_whether_there_is_such_a_user(cloud: Cloud) -> None:
    known, unknown = (guess(cloud, "203.0.113.12", name=name) for name in ("reader", "nobody"))
    assert known[:FREE] == unknown[:FREE]
    assert known[-1].document == unknown[-1].document
    assert (known[-1].status, unknown[-1].status) == (429, 429)
