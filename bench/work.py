"""Work for a cloud: servers booted, acted on, deleted; one by one, or many at a concurrency."""

import datetime
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import ACCEPTED, NO_CONTENT, SERVICE_UNAVAILABLE

from bench.cloud import administrator
from bench.ledger import Batch, Ledger, now
from bench.users import Account, Answer, User, sign_in
from devstack.local import LocalCloud

AGAIN_SECONDS = 0.05
POLL_SECONDS = 0.002
BURST = 50
QUIET_LOOK_SECONDS = 0.02
Request = Callable[[User, str], Answer]
"""Asks a user's question under an ``Idempotency-Key``."""


class Work:
    """Asks a cloud for actions and reads in its ledger how long they took.

    :ivar refused: how often an answer was 503, after which the request was sent again
    """

    def __init__(self, cloud: LocalCloud) -> None:
        self.account: Account = sign_in(cloud)
        self.user = User(self.account)
        self.refused = 0
        self._ledger = Ledger(administrator(cloud))
        self._local = threading.local()

    def boot(self) -> tuple[str, float]:
        """A server, and the milliseconds until it was active."""
        begun = now()
        answer = self._ask(self.user, _create)
        return answer.document["server"]["id"], self._one(begun)

    def act(self, server: str, verb: str) -> float:
        """The milliseconds of an action."""
        begun = now()
        self._ask(self.user, _action(server, verb))
        return self._one(begun)

    def delete(self, server: str) -> float:
        """The milliseconds of a deletion."""
        begun = now()
        self._ask(self.user, _deletion(server))
        return self._one(begun)

    def boot_many(self, count: int, concurrency: int) -> Batch:
        """So many servers, asked for one by one."""
        return self._many([_create] * count, concurrency)

    def act_many(self, servers: Sequence[str], verb: str, concurrency: int) -> Batch:
        """The same action of each server."""
        return self._many([_action(server, verb) for server in servers], concurrency)

    def delete_many(self, servers: Sequence[str], concurrency: int) -> Batch:
        """All these servers."""
        return self._many([_deletion(server) for server in servers], concurrency)

    def burst(self, count: int = BURST) -> Batch:
        """So many servers of one request."""
        begun = now()
        self.user.create_at_last(count)
        self._ledger.await_quiet(QUIET_LOOK_SECONDS)
        return self._ledger.since(begun, count)

    def servers(self) -> list[str]:
        """The ids of all servers."""
        found: list[str] = []
        while page := self.user.ask("GET", f"/servers?limit=1000{_marker(found)}").document[
            "servers"
        ]:
            found += [one["id"] for one in page]
        return found

    def show(self, server: str) -> float:
        """The milliseconds of an answer with one server."""
        return 1000 * self.user.ask("GET", f"/servers/{server}").seconds

    def list(self, count: int) -> float:
        """The milliseconds of an answer with so many servers in detail."""
        answer = self.user.ask("GET", f"/servers/detail?limit={count}")
        assert len(answer.document["servers"]) == count
        return 1000 * answer.seconds

    def polled(self, server: str, verb: str) -> tuple[float, float]:
        """The milliseconds of an action as a client sees it who asks again every 2 ms, from its
        request on, and as the ledger does."""
        begun, first = now(), time.perf_counter()
        self._ask(self.user, _action(server, verb))
        self.user.wait(server, POLL_SECONDS)
        return 1000 * (time.perf_counter() - first), self._one(begun)

    def reconnect(self) -> None:
        """Make connections anew: those to a process that ended are lost."""
        self._ledger.close()
        self.user = User(self.account)
        self._local = threading.local()

    def close(self) -> None:
        """Close the connection to the ledger."""
        self._ledger.close()

    def _one(self, begun: datetime.datetime) -> float:
        self._ledger.await_quiet()
        return self._ledger.since(begun, 1).milliseconds

    def _many(self, requests: Sequence[Request], concurrency: int) -> Batch:
        begun = now()
        with ThreadPoolExecutor(concurrency) as pool:
            list(pool.map(lambda request: self._ask(self._own_user(), request), requests))
        self._ledger.await_quiet(QUIET_LOOK_SECONDS)
        return self._ledger.since(begun, len(requests))

    def _own_user(self) -> User:
        """This thread's, whose connection no other uses."""
        if not hasattr(self._local, "user"):
            self._local.user = User(self.account)
        user: User = self._local.user
        return user

    def _ask(self, user: User, request: Request) -> Answer:
        key = str(uuid.uuid4())
        while (answer := request(user, key)).status == SERVICE_UNAVAILABLE:
            self.refused += 1
            time.sleep(AGAIN_SECONDS)
        if answer.status not in (ACCEPTED, NO_CONTENT):
            raise RuntimeError(f"the cloud answered {answer.status}: {answer.document}")
        return answer


def _create(user: User, key: str) -> Answer:
    return user.create(key=key)


def _action(server: str, verb: str) -> Request:
    return lambda user, key: user.ask("POST", f"/servers/{server}/action", {verb: None}, key)


def _deletion(server: str) -> Request:
    return lambda user, key: user.ask("DELETE", f"/servers/{server}", key=key)


def _marker(found: Sequence[str]) -> str:
    return f"&marker={found[-1]}" if found else ""
