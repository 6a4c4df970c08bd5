"""Drains in the load, and what must hold of them when all faults are healed."""

from __future__ import annotations

import datetime
import random
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from api.idempotency import NAMESPACE
from tests.faults.client import Client
from tests.faults.history import Request
from tests.faults.ledger import Ledger, Row

DRAINS = "/compute/v2.1/drains"
VERB = "drain"
HOSTS = ("h1", "h2", "h3")
GOING_ON = ("running", "cancelling", "restoring")
NEXT: dict[str, list[str]] = {
    "running": ["pause", "cancel", "", "", ""],
    "paused": ["resume", "resume", "cancel"],
    "restoring": ["pause", "cancel", "", "", ""],
    "cancelling": [""],
    "completed": ["restore", "restore", "cancel", "retry"],
    "failed": ["restore", "retry", "cancel"],
    "cancelled": ["restore", "retry", "cancel", "", ""],
}
"""What an administrator may want of a drain that is so; empty for nothing."""
MOVES = "fetch"
SMALL = ("lock", "unlock")


class DrainUser:
    """The administrator of drains: one host after the other is drained and filled again.

    :param client: his
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def act(self, chance: random.Random) -> Request | None:
        """Do one thing about drains: begin one, or change one's course; gives what was begun."""
        listing = self._client.read(f"{DRAINS}?limit=10")
        if listing is None:
            return None
        drain = self._unfinished(listing["drains"])
        if drain is None or (drain["status"] == "cancelled" and chance.random() < 0.5):
            return self._begin(chance)
        if verb := chance.choice(NEXT[drain["status"]]):
            self._steer(drain, verb)
        return None

    def open_all(self) -> None:
        """No host stays closed from one round to the next."""
        listing = self._client.read(f"{DRAINS}?limit=10") or {"drains": []}
        for drain in listing["drains"]:
            if drain["status"] in ("completed", "failed"):
                self._steer(drain, "cancel")
            elif drain["status"] == "paused":
                self._steer(drain, "resume")

    @staticmethod
    def _unfinished(drains: list[Row]) -> Row | None:
        """The newest of which something is to be done still; one host at a time is drained."""
        return next((drain for drain in drains if drain["status"] in NEXT), None)

    def _begin(self, chance: random.Random) -> Request:
        wanted = {
            "host": chance.choice(HOSTS),
            "reason": "load",
            "max_parallel": chance.randint(1, 4),
            "target_zone": chance.choice([None, "az1", "az2"]),
        }
        return self._client.change("POST", DRAINS, wanted, VERB)

    def _steer(self, drain: Row, verb: str) -> None:
        self._client.ask("POST", f"{DRAINS}/{drain['id']}/action", {verb: None})


def drain_id(request: Request) -> str:
    """The id that the API makes of the key of a request for a drain."""
    name = "\n".join([request.project, request.key, VERB, "0"])
    return str(uuid.uuid5(NAMESPACE, name))


def waits(ledger: Ledger, now: datetime.datetime) -> float:
    """Seconds until the last machine of a drain that goes on may be tried again.

    :param now: in UTC, without a zone
    """
    going = {row["id"] for row in ledger.drains.values() if row["status"] in GOING_ON}
    times = [
        (row["not_before"] - now).total_seconds()
        for row in ledger.drain_machines
        if row["drain_id"] in going and row["status"] != "done" and row["not_before"]
    ]
    return max([0.0, *times])


# --- what must hold


def check_drains(requests: Iterable[Request], ledger: Ledger) -> Iterator[str]:
    """Each drain is somebody's and has ended or stands still, each machine has its verdict, none
    was moved twice and none forgotten."""
    yield from _check_asked([one for one in requests if one.verb == VERB], ledger)
    machines: dict[str, list[Row]] = defaultdict(list)
    for row in ledger.drain_machines:
        machines[row["drain_id"]].append(row)
    steps: dict[str, list[Row]] = defaultdict(list)
    for step in ledger.steps:
        if step["kind"] == MOVES and step["status"] == "succeeded":
            steps[step["instance_id"]].append(step)
    for drain in ledger.drains.values():
        what = f"the drain {drain['id']} of host {drain['host']}"
        if drain["status"] in GOING_ON:
            yield f"{what} is still {drain['status']}"
        for row in machines[drain["id"]]:
            done = drain["status"] in (*GOING_ON, "paused") or row["verdict"]
            if not done:
                yield f"{what} is {drain['status']}, and {row['instance_id']} has no verdict"
            if _is_forgotten(drain, row, ledger):
                yield f"{what} has stopped {row['instance_id']} and not started it again"
    for key, moves in steps.items():
        yield from _check_moves(key, moves, ledger)


def _check_asked(requests: list[Request], ledger: Ledger) -> Iterator[str]:
    asked = {drain_id(one) for one in requests}
    for key in ledger.drains.keys() - asked:
        yield f"the drain {key} is of no request"
    for one in requests:
        if one.status == 202 and drain_id(one) not in ledger.drains:
            yield f"drain {one.path} ({one.key}): accepted, and no drain is there"


def _check_moves(key: str, moves: list[Row], ledger: Ledger) -> Iterator[str]:
    """Each move of a drain takes the machine from the drain's host, or there."""
    place: str | None = None
    for step in sorted(moves, key=lambda row: row["finished_at"]):
        drain = ledger.drains.get(_drain_of(ledger.actions.get(step["action_id"])))
        if drain is not None and place is not None and drain["host"] not in (place, step["host"]):
            yield f"{key} was moved from {place} to {step['host']} by the drain of {drain['host']}"
        place = step["host"]


def _is_forgotten(drain: Row, row: Row, ledger: Ledger) -> bool:
    """Whether the drain says that all is well with a machine that it has left stopped."""
    instance = ledger.living.get(row["instance_id"])
    if instance is None or instance["vm_state"] != "stopped" or not row["ran"]:
        return False
    if row["verdict"] not in ("moved", "returned", "left"):
        return False
    ended = [
        one
        for one in ledger.actions.values()
        if one["instance_id"] == row["instance_id"]
        and one["status"] == "succeeded"
        and one["verb"] not in SMALL
    ]
    last = max(ended, key=lambda one: one["finished_at"], default=None)
    return _drain_of(last) == drain["id"] and last["verb"] in ("os-stop", "migrate")


def _drain_of(action: Any) -> str:
    """The drain whose action this is; empty for a user's."""
    return str((action or {}).get("params", {}).get("drain", ""))
