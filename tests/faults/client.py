"""One user's way to the API: a request is sent under one key until it is answered."""

from __future__ import annotations

import random
import threading
import time
import uuid
from typing import Any

import requests

from devstack.clouds import read_clouds
from tests.faults.history import UNDECIDED, History, Request, Try

LONGEST = 25.0
"""Seconds after which a client gives up waiting: no answer may take so long."""
MICROVERSION = "2.96"
KEPT_BYTES = 2000


class Client:
    """Sends requests in the name of one cloud of clouds.yaml; several threads may share it.

    :param stopping: once set, requests without an answer are not repeated any more
    """

    def __init__(
        self, clouds: Any, cloud: str, history: History, stopping: threading.Event
    ) -> None:
        self._auth = read_clouds(clouds)[cloud]["auth"]
        self.url = str(self._auth["auth_url"]).removesuffix("/identity/v3")
        self._history = history
        self._stopping = stopping
        self.user = str(self._auth["username"])
        self.project = ""
        self._token = ""
        self.round = 0

    def read(self, path: str) -> Any:
        """The JSON at a path; None when it cannot be had now."""
        return self.ask("GET", path, None)

    def ask(self, method: str, path: str, body: Any) -> Any:
        """Ask something that changes nothing; the answer, None when it cannot be had now."""
        answer = self._send(self._note(method, path, body, "read", ""))
        return answer.answer if answer.status == 200 else None

    def look(self, path: str) -> Try:
        """The answer at a path, whatever it is."""
        return self._send(self._note("GET", path, None, "read", ""))

    def change(self, method: str, path: str, body: Any, verb: str) -> Request:
        """Ask for a change, again and again until there is an answer."""
        request = self._note(method, path, body, verb, str(uuid.uuid4()))
        while True:
            answer = self._send(request)
            if answer.status > 0 and answer.status not in UNDECIDED:
                request.done = True
                return request
            if self._stopping.wait(random.uniform(0.3, 1.0)):
                return request

    def repeat(self, request: Request) -> Try:
        """Send a request once more that has its answer."""
        return self._send(request)

    def _note(self, method: str, path: str, body: Any, verb: str, key: str) -> Request:
        request = Request(key, method, path, body, verb, self.user, self.project, self.round)
        self._history.add_request(request)
        return request

    def _send(self, request: Request) -> Try:
        if not self._token:
            self._sign_in()
            request.project = self.project
        headers = {"X-Auth-Token": self._token, "X-OpenStack-Nova-API-Version": MICROVERSION}
        if request.key:
            headers["Idempotency-Key"] = request.key
        answer = self._try(request.method, request.path, request.body, headers)
        if answer.status == 401:
            self._token = ""
        request.tries.append(answer)
        return answer

    def _sign_in(self) -> None:
        domain = {"name": self._auth["user_domain_name"]}
        user = {
            "name": self._auth["username"], "password": self._auth["password"], "domain": domain,
        }  # fmt: skip
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": self._auth["project_name"], "domain": domain}},
            }
        }
        while not self._stopping.is_set():
            try:
                answer = requests.post(
                    f"{self.url}/identity/v3/auth/tokens", json=body, timeout=LONGEST
                )
            except requests.RequestException:
                time.sleep(0.5)
                continue
            if answer.status_code == 201:
                self.project = str(answer.json()["token"]["project"]["id"])
                self._token = answer.headers["X-Subject-Token"]
                return
            time.sleep(0.5)

    def _try(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Try:
        at = time.time()
        begun = time.monotonic()
        try:
            answer = requests.request(
                method, self.url + path, json=body, headers=headers, timeout=LONGEST
            )
        except requests.Timeout:
            return Try(at, time.monotonic() - begun, -1, None, None)
        except requests.RequestException as error:
            return Try(at, time.monotonic() - begun, 0, None, type(error).__name__)
        seconds = time.monotonic() - begun
        named = answer.headers.get("X-Openstack-Request-Id", "")
        retry = answer.headers.get("Retry-After")
        return Try(at, seconds, answer.status_code, retry, _content(answer), named)


def _content(answer: requests.Response) -> Any:
    try:
        return answer.json() if answer.content else None
    except ValueError:
        return answer.text[:KEPT_BYTES]
