"""The checks of drains after a round of faults name what is wrong, and nothing when all is well."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest

from tests.faults import check
from tests.faults.drains import check_drains, drain_id, waits
from tests.faults.history import Request, Try
from tests.faults.ledger import Ledger

NOW = datetime.datetime(2026, 1, 1)
VM = "5f0c1a52-0000-4000-8000-000000000001"


class World:
    """A machine that a drain of h1 took to h2, stopped and started; tests spoil it."""

    def __init__(self) -> None:
        self.request = Request(
            "key", "POST", "/drains", {"host": "h1"}, "drain", "admin", "p", 1,
            [Try(10.0, 0.1, 202, None, None)], True,
        )  # fmt: skip
        self.id = drain_id(self.request)
        verbs = ("os-stop", "migrate", "os-start")
        actions = {
            verb: {"id": verb, "verb": verb, "instance_id": VM, "status": "succeeded",
                   "finished_at": NOW + datetime.timedelta(seconds=second),
                   "params": {"drain": self.id}}
            for second, verb in enumerate(verbs)
        }  # fmt: skip
        machine = {"id": VM, "name": "m", "deleted": False, "vm_state": "active", "host": "h2"}
        self.machine = {"drain_id": self.id, "instance_id": VM, "status": "done", "ran": True,
                        "verdict": "moved", "not_before": None}  # fmt: skip
        self.drain = {"id": self.id, "host": "h1", "status": "completed"}
        self.ledger = Ledger(
            hosts={}, instances={VM: machine}, actions=actions, steps=[], claims=[], ports=[],
            leftovers=[], drains={self.id: self.drain}, drain_machines=[self.machine],
        )  # fmt: skip
        self.move("h2", "migrate")

    def move(self, host: str, action: str) -> None:
        at = NOW + datetime.timedelta(seconds=len(self.ledger.steps) + 1)
        self.ledger.steps.append(
            {"kind": "fetch", "instance_id": VM, "status": "succeeded", "host": host,
             "action_id": action, "finished_at": at}
        )  # fmt: skip

    def violations(self) -> list[str]:
        requests = [self.request]
        once = check.check_once(requests, self.ledger)
        return [one for one in [*check_drains(requests, self.ledger), *once] if "named" not in one]

    def go_on(self) -> None:
        self.drain["status"] = "running"

    def forget(self) -> None:
        del self.ledger.actions["os-start"]
        self.ledger.instances[VM]["vm_state"] = "stopped"


def test_a_drain_that_is_well_breaks_nothing() -> None:
    assert World().violations() == []


SPOILED: dict[str, Callable[[World], object]] = {
    "is still running": World.go_on,
    "has no verdict": lambda w: w.machine.update(verdict=None),
    "is of no request": lambda w: w.ledger.drains.update(x={**w.drain, "id": "x"}),
    "no drain is there": lambda w: w.ledger.drains.clear(),
    "moved from h2 to h2": lambda w: w.move("h2", "migrate"),
    "moved from h2 to h3": lambda w: w.move("h3", "migrate"),
    "not started it again": World.forget,
}


@pytest.mark.parametrize("said", SPOILED)
def test_what_is_wrong_is_named(said: str) -> None:
    world = World()
    SPOILED[said](world)
    with pytest.raises(AssertionError, match=said):
        assert world.violations() == []


def test_a_machine_that_went_home_and_away_again_was_not_moved_twice() -> None:
    world = World()
    for host in ("h1", "h3"):
        world.move(host, "migrate")
    assert world.violations() == []


def test_a_machine_that_its_user_brought_back_may_be_moved_again() -> None:
    world = World()
    world.move("h1", "power-on")
    world.move("h2", "migrate")
    assert world.violations() == []


def test_a_drain_that_stands_still_needs_no_verdicts() -> None:
    world = World()
    world.drain["status"] = "paused"
    world.machine.update(verdict=None, status="planned")
    assert world.violations() == []


def test_a_pause_before_the_next_try_is_waited_for() -> None:
    world = World()
    world.go_on()
    later = NOW + datetime.timedelta(seconds=40)
    world.machine.update(status="moving", verdict=None, not_before=later)
    assert waits(world.ledger, NOW) == 40
    world.drain["status"] = "paused"
    assert waits(world.ledger, NOW) == 0
