"""The checks after a round of faults name what is wrong, and nothing when all is well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paddock.actions import Seen
from tests.faults import check
from tests.faults.fleet import Inventory
from tests.faults.history import Event, Request, Try
from tests.faults.ledger import Ledger
from tests.faults.rounds import QUEUES, REPLIES

ID, GONE = "5f0c1a52-0000-4000-8000-000000000001", "5f0c1a52-0000-4000-8000-000000000002"


def request(status: int = 202, **changes: Any) -> Request:
    path = f"/servers/{ID}/action"
    fields = {
        "project": "p",
        "round": 1,
        "done": True,
        "tries": [Try(10.0, 0.1, status, "1", None)],
    }
    return Request("key", "POST", path, {}, "pause", "demo", **(fields | changes))


class World:
    """A machine that runs on h1, paused once; tests spoil it."""

    def __init__(self) -> None:
        self.request = request()
        create = {"server": {"name": "m", "max_count": 2}}
        made = Try(9.0, 0.1, 202, None, {"server": {"id": ID}})
        self.asked = Request(
            "c", "POST", "/servers", create, "create", "demo", "p", 1, [made], True
        )
        (self.pause,) = check.action_ids(self.request)
        rows = dict.fromkeys(check.action_ids(self.asked), "create") | {self.pause: "pause"}
        machine = {
            "id": ID, "name": "m", "deleted": False, "busy": None, "vm_state": "paused",
            "host": "h1", "disk_host": "h1", "disk_generation": 1,
        }  # fmt: skip
        self.ledger = Ledger(
            hosts={name: {"name": name, "state": "up"} for name in ("h1", "h2")},
            instances={ID: machine, GONE: {**machine, "id": GONE, "deleted": True}},
            actions={
                key: {"id": key, "verb": verb, "status": "succeeded", "reason": None, "params": {}}
                for key, verb in rows.items()
            },
            steps=[
                {"id": "s", "kind": "launch", "host": "h1", "status": "succeeded",
                 "instance_id": ID, "started_at": 1, "reason": None, "action_id": self.pause},
            ],
            claims=[{"instance_id": ID, "host": "h1", "kind": "compute"}],
            ports=[{"address": "10.0.0.1", "instance_id": ID, "quarantine_host": None}],
            leftovers=[],
            drains={},
            drain_machines=[],
        )  # fmt: skip
        here = Inventory({ID: Seen.PAUSED}, {(ID, 1)}, {(ID, f"{ID}.g1.raw")}, {ID: 1})
        self.found = {"h1": here, "h2": Inventory()}

    @property
    def action(self) -> dict[str, Any]:
        return self.ledger.actions[self.pause]

    def leave(self, **row: Any) -> None:
        self.ledger.leftovers.append({"generation": 9, "kind": "disk", **row})

    def violations(self) -> list[str]:
        return [
            *check.check_rest(self.ledger),
            *check.check_outcomes([self.request, self.asked], self.ledger),
            *check.check_once([self.request, self.asked], self.ledger),
            *check.check_hosts(self.ledger, self.found),
            *check.check_boots(self.ledger, self.found),
        ]


def test_a_cloud_that_is_well_breaks_nothing() -> None:
    assert World().violations() == []


SPOILED: dict[str, Callable[[World], object]] = {
    "accepted, and no action is there": lambda w: w.ledger.actions.clear(),
    "accepted, and still running": lambda w: w.action.update(status="running"),
    "failed without a reason": lambda w: w.action.update(status="failed"),
    "failed unexpectedly": lambda w: w.ledger.steps[0].update(
        reason="The host h1 failed unexpectedly in the step launch."
    ),
    "answered 409, and yet succeeded": lambda w: setattr(w.request.tries[0], "status", 409),
    "is of no request": lambda w: w.ledger.actions.update(x={**w.action, "id": "x"}),
    "3 instances are named m": lambda w: w.ledger.instances.update(
        x={**w.ledger.instances[GONE], "id": "x"}
    ),
    "1 instances are named m, 2 were asked for": lambda w: w.ledger.instances.pop(GONE),
    "host h2 is reconciling": lambda w: w.ledger.hosts["h2"].update(state="reconciling"),
    "left on host h2": lambda w: w.leave(host="h2", instance_id=GONE),
    "host h2 has a guest": lambda w: w.found["h2"].guests.update({ID: Seen.RUNNING}),
    "which is gone": lambda w: w.found["h1"].guests.update({GONE: Seen.OFF}),
    "a disk of .* that is nobody's": lambda w: w.found["h1"].disks.add((ID, 2)),
    "and host h1 says gone": lambda w: w.found["h1"].guests.clear(),
    "is not on host h1": lambda w: w.found["h1"].disks.clear(),
    "host h2 has x.log": lambda w: w.found["h2"].traces.add((ID, "x.log")),
    "generation 2, that is nobody's": lambda w: w.found["h1"].disks.add((ID, 2)),
    "is claimed on h2": lambda w: w.ledger.claims[0].update(host="h2"),
    "waits for host h2": lambda w: w.ledger.ports[0].update(
        instance_id=None, quarantine_host="h2"
    ),
    "has booted 2 times": lambda w: w.found["h1"].boots.update({ID: 2}),
    "is running": lambda w: w.ledger.steps[0].update(status="running"),
    "is busy with": lambda w: w.ledger.instances[ID].update(busy="x"),
    "on host h1: the part": lambda w: w.found["h1"].strays.append("the part x"),
}  # fmt: skip


@pytest.mark.parametrize("said", SPOILED)
def test_what_is_wrong_is_named(said: str) -> None:
    world = World()
    SPOILED[said](world)
    with pytest.raises(AssertionError, match=said):
        assert world.violations() == []


def test_leftovers_cover_what_lies_on_a_dead_host() -> None:
    world = World()
    world.found["h2"].disks.add((GONE, 1))
    world.leave(host="h2", instance_id=GONE, kind="instance")
    assert len(world.violations()) == 1
    assert list(check.check_hosts(world.ledger, world.found, dead=["h2"])) == []


ANSWERS: dict[str, Try] = {
    "no answer within": Try(10.0, 25.0, -1, None, None),
    "the connection broke": Try(10.0, 0.1, 0, None, "ConnectionError"),
    "answered 500": Try(10.0, 0.1, 500, None, {}),
    "without Retry-After": Try(10.0, 0.1, 503, None, {}),
    "answered 409 .* after 202": Try(12.0, 0.1, 409, None, {}),
}


@pytest.mark.parametrize("said", ANSWERS)
def test_answers_that_break_the_promise_are_named(said: str) -> None:
    asked = request()
    asked.tries.append(ANSWERS[said])
    with pytest.raises(AssertionError, match=said):
        assert list(check.check_answers([asked], [])) == []


def test_connections_may_break_while_the_api_is_away() -> None:
    asked = request()
    asked.tries.insert(0, ANSWERS["the connection broke"])
    away = Event(1, "KillApi", "api", injected=9.0, healed=11.0)
    assert list(check.check_answers([asked], [away])) == []
    away.injected = 50.0
    assert list(check.check_answers([asked], [away])) != []


def test_a_503_to_a_repeat_takes_nothing_back() -> None:
    world = World()
    world.request.tries.append(Try(12.0, 0.1, 503, "1", {}))
    assert world.violations() == []


def test_a_request_that_only_got_503_is_named() -> None:
    [said] = check.check_answers([request(503, done=False)], [])
    assert "no answer but 503" in said


def test_queues_that_are_left_deaf_or_full_are_found() -> None:
    well = [f"{name}\t0\t1\t[]" for name in QUEUES]
    expires = '[{"x-expires",600000}]'
    well += ["reply_h1:agent:7\t0\t1\t[]", f"reply_h1:agent:6\t0\t0\t{expires}"]
    assert list(check.check_queues(well, QUEUES, REPLIES, [])) == []
    for line, sentence in (
        ("compute.h9.h9\t0\t1\t[]", "queue compute.h9.h9 is left over"),
        ("compute.h1.old\t0\t0\t[]", "queue compute.h1.old is left over"),
        ("reply_h1:agent:5\t0\t0\t[]", "queue reply_h1:agent:5 would stay for ever"),
        ("compute.h1\t0\t0\t[]", "nobody listens to queue compute.h1"),
        ("compute.h1.h1\t3\t1\t[]", "queue compute.h1.h1 has 3 messages"),
    ):
        lines = [one for one in well if one.split("\t")[0] != line.split("\t")[0]]
        assert list(check.check_queues([*lines, line], QUEUES, REPLIES, [])) == [sentence]
    absent = [line for line in well if not line.startswith("compute.h2")]
    assert len(list(check.check_queues(absent, QUEUES, REPLIES, []))) == 2
    assert list(check.check_queues(absent, QUEUES, REPLIES, ["h2"])) == []
