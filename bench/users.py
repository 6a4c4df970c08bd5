"""Users of the API over HTTP, cheap enough that many fit beside what they measure."""

import http.client
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from devstack.api import Api
from devstack.cloud_user import COMPUTE
from devstack.local import LocalCloud

TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.2
RETRY_SECONDS = 1.0
FLAVOR = "42"
LATEST = "2.96"


@dataclass(frozen=True)
class Answer:
    """What a request got, and how many seconds it took."""

    status: int
    document: Any
    seconds: float


@dataclass(frozen=True)
class Account:
    """What every user of a benchmark signs in as: an administrator, whom no quota bounds."""

    address: tuple[str, int]
    token: str
    image: str


def sign_in(cloud: LocalCloud) -> Account:
    """Get a token and the id of the image that servers are made from."""
    api = Api(cloud.place.clouds, "paddock-admin")
    api.sign_in()
    image = api.get("/image/v2/images?name=paddock-guest")["images"][0]["id"]
    parts = urlsplit(api.url)
    return Account((parts.hostname or "", parts.port or 0), api.token, image)


class User:
    """One user on one connection that stays open; for one thread."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._connection = http.client.HTTPConnection(*account.address, timeout=TIMEOUT_SECONDS)
        self._headers = {
            "X-Auth-Token": account.token,
            "OpenStack-API-Version": f"compute {LATEST}",
            "Content-Type": "application/json",
        }

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Answer:
        """One request; a path below compute's.

        :param key: its ``Idempotency-Key``
        """
        text = None if body is None else json.dumps(body)
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        begun = time.perf_counter()
        self._connection.request(method, COMPUTE + path, text, headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        seconds = time.perf_counter() - begun
        return Answer(answer.status, json.loads(raw) if raw else None, seconds)

    def create(self, count: int = 1, key: str = "", **fields: Any) -> Answer:
        """Ask for so many servers at once, or none if they do not all fit."""
        wanted = {
            "name": "machine", "imageRef": self._account.image, "flavorRef": FLAVOR,
            "networks": "none", "min_count": count, "max_count": count,
        } | fields  # fmt: skip
        return self.ask("POST", "/servers", {"server": wanted}, key)

    def create_at_last(self, count: int) -> int:
        """Ask for so many servers, again under one key while the answer is 503.

        :return: how often it was
        """
        key, refused = str(uuid.uuid4()), 0
        while (answer := self.create(count, key)).status == http.client.SERVICE_UNAVAILABLE:
            refused += 1
            time.sleep(RETRY_SECONDS)
        assert answer.status == http.client.ACCEPTED, answer.document
        return refused

    def act(self, server_id: str, verb: str, value: Any = None) -> Answer:
        """Ask for an action."""
        return self.ask("POST", f"/servers/{server_id}/action", {verb: value})

    def is_idle(self, server_id: str) -> bool:
        """Whether nothing goes on with a server; True when it is gone."""
        answer = self.ask("GET", f"/servers/{server_id}")
        if answer.status == http.client.NOT_FOUND:
            return True
        return answer.document["server"]["OS-EXT-STS:task_state"] is None

    def wait(self, server_id: str, poll: float = POLL_SECONDS) -> None:
        """Until nothing goes on with a server.

        :raises TimeoutError: after a minute
        """
        end = time.monotonic() + TIMEOUT_SECONDS
        while not self.is_idle(server_id):
            if time.monotonic() > end:
                raise TimeoutError(f"server {server_id} is still busy")
            time.sleep(poll)

    def servers(self) -> int:
        """How many servers there are, page by page."""
        count, marker = 0, ""
        while page := self.ask("GET", f"/servers?limit=1000{marker}").document["servers"]:
            count += len(page)
            marker = f"&marker={page[-1]['id']}"
        return count


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of all lies (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(int(share * len(ranked)), len(ranked) - 1)]
