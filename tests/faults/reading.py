"""What users read of what they asked: it is what the ledger holds, and it is readable."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tests.faults.check import ACCEPTED, ENDED, action_ids
from tests.faults.client import Client
from tests.faults.history import Request, Try
from tests.faults.ledger import Ledger, Row

COMPUTE = "/compute/v2.1"
SAMPLE = 5
"""Requests that are read of those that succeeded, failed, and were superseded."""
SENTENCE = re.compile(r"[A-Z][^\n]{8,400}\.")
MACHINES_TALK = re.compile(r"Traceback|Exception|Error\b(?! )|\bNone\b|0x[0-9a-f]{6}|/var/|/tmp/")
TRIES = 3


class Readers:
    """Users who ask what became of their requests.

    :param clients: by the users' names
    """

    def __init__(self, clients: Iterable[Client]) -> None:
        self._clients = {client.user: client for client in clients}

    def check(self, requests: Iterable[Request], ledger: Ledger, seed: int) -> list[str]:
        """Read what became of some requests; gives what is wrong with that.

        :param requests: all of them have ended
        :param seed: decides which
        """
        return [
            f"{request.verb} {request.path} ({request.key}): {sentence}"
            for request in self._sample(requests, ledger, seed)
            for identity in action_ids(request)
            for sentence in self._read(request, ledger.actions[identity], ledger)
        ]

    def _sample(self, requests: Iterable[Request], ledger: Ledger, seed: int) -> list[Request]:
        ends: dict[str, list[Request]] = {status: [] for status in ENDED}
        for one in requests:
            if one.changes and one.status in ACCEPTED and action_ids(one):
                ends[ledger.actions[action_ids(one)[-1]]["status"]].append(one)
        chance = random.Random(seed)
        return [one for of in ends.values() for one in chance.sample(of, min(SAMPLE, len(of)))]

    def _read(self, request: Request, action: Row, ledger: Ledger) -> Iterator[str]:
        client = self._clients[request.user]
        server = action["instance_id"]
        path = f"{COMPUTE}/servers/{server}/os-instance-actions"
        answer = self._get(client, f"{path}/{request.request_id}")
        if answer.status != 200:
            yield f"what became of it cannot be read: {answer.status} {answer.answer}"
            return
        yield from _check_action(answer.answer["instanceAction"], action)
        listed = self._get(client, path).answer["instanceActions"]
        if action["id"] not in [row["id"] for row in listed]:
            yield "it is not among its server's actions"
        row = ledger.living.get(server)
        if row and row["vm_state"] == "error":
            answer = self._get(client, f"{COMPUTE}/servers/{server}")
            yield from _check_fault(answer.answer["server"], listed)

    def _get(self, client: Client, path: str) -> Try:
        for _ in range(TRIES - 1):
            answer = client.look(path)
            if answer.status == 200:
                return answer
        return client.look(path)


def _check_action(shown: dict[str, Any], action: Row) -> Iterator[str]:
    for name, value in (
        ("id", action["id"]),
        ("status", action["status"]),
        ("reason", action["reason"]),
        ("message", action["reason"]),
    ):
        if shown[name] != value:
            yield f"its {name} is shown as {shown[name]!r}, and is {value!r}"
    if action["status"] != "succeeded":
        yield from _check_reason(shown["message"])
    if shown["finish_time"] is None:
        yield "no time of its end is shown"
    for step in shown["steps"]:
        cleans = action["status"] == "succeeded" and step["kind"] in ("discard", "destroy")
        if step["status"] not in ENDED and not cleans:
            yield f"its step {step['kind']} is shown as {step['status']}"


def _check_reason(reason: str | None) -> Iterator[str]:
    if not reason or not SENTENCE.fullmatch(reason) or MACHINES_TALK.search(reason):
        yield f"a user cannot read its reason: {reason!r}"


def _check_fault(shown: dict[str, Any], listed: list[dict[str, Any]]) -> Iterator[str]:
    """A server in error says why: as the newest action that worked on it and failed does."""
    message = shown.get("fault", {}).get("message")
    yield from _check_reason(message)
    failed = next((row for row in listed if row["steps"] and row["status"] == "failed"), None)
    if failed and message != failed["reason"]:
        yield f"its server's fault says {message!r}, its newest failure {failed['reason']!r}"
