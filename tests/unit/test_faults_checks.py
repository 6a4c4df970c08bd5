"""The checks after each round of faults see what they are there for, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paddock.actions import Seen
from tests.faults import check
from tests.faults.fleet import Inventory
from tests.faults.history import Request, Try
from tests.faults.ledger import Ledger
from tests.faults.rounds import QUEUES, REPLIES

MACHINE = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


def create(count: int = 1) -> Request:
    """A create that was accepted."""
    body = {"server": {"name": "m", "max_count": count}}
    answer = Try(0.0, 0.1, 202, None, {"server": {"id": MACHINE}})
    return Request("k", "POST", "/servers", body, "create", "demo", "p", 1, [answer], done=True)


def rows(request: Request, **changes: Any) -> list[dict[str, Any]]:
    """The actions that came of a request."""
    row = {"verb": "create", "status": "succeeded", "reason": None, "instance_id": MACHINE}
    return [row | {"id": identity} | changes for identity in check.action_ids(request)]


def machine(**changes: Any) -> dict[str, Any]:
    """An instance that runs on h1."""
    row = {
        "id": MACHINE, "name": "m", "deleted": False, "busy": None, "vm_state": "active",
        "host": "h1", "disk_host": "h1", "disk_generation": 1,
    }  # fmt: skip
    return row | changes


def ledger(instances: list[dict[str, Any]], actions: list[dict[str, Any]]) -> Ledger:
    """A cloud of two hosts."""
    launch = {"kind": "launch", "instance_id": MACHINE, "started_at": 1, "reason": None}
    step = launch | {"id": "s", "status": "succeeded", "host": "h1", "action_id": "a"}
    return Ledger(
        hosts={name: {"name": name, "state": "up"} for name in ("h1", "h2")},
        instances={row["id"]: row for row in instances},
        actions={row["id"]: row for row in actions},
        steps=[step],
        claims=[{"instance_id": MACHINE, "host": "h1", "kind": "disk"}],
        ports=[],
        leftovers=[],
    )


REQUEST = create()
WELL = ledger([machine()], rows(REQUEST))
HERE = Inventory(
    {MACHINE: Seen.RUNNING}, {(MACHINE, 1)}, {(MACHINE, f"{MACHINE}.g1.raw")}, {MACHINE: 1}
)


def look(request: Request, held: Ledger, h1: Inventory, h2: Inventory | None = None) -> list[str]:
    """All that is wrong with a cloud that is at rest."""
    found = {"h1": h1, "h2": h2 or Inventory()}
    return [
        *check.check_rest(held),
        *check.check_outcomes([request], held),
        *check.check_once([request], held),
        *check.check_hosts(held, found),
        *check.check_boots(held, found),
    ]


def test_a_cloud_that_is_well_is_found_well() -> None:
    assert look(REQUEST, WELL, HERE) == []


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        (ledger([machine()], []), "accepted, and no action is there"),
        (ledger([machine()], rows(REQUEST, status="running")), "accepted, and still running"),
        (ledger([machine()], rows(REQUEST, status="failed")), "failed without a reason"),
        (
            ledger(
                [machine()],
                rows(
                    REQUEST,
                    status="failed",
                    reason="The host h1 failed unexpectedly in the step launch.",
                ),
            ),
            "The host h1 failed unexpectedly in the step launch.",
        ),
        (ledger([machine(busy="x")], rows(REQUEST)), "is busy with x"),
        (
            ledger([machine(), machine(id=OTHER, vm_state="error")], rows(REQUEST)),
            "2 instances are named m, 1 were asked for",
        ),
        (
            ledger([machine()], [*rows(REQUEST), *rows(replace(REQUEST, key="another"))]),
            "is of no request",
        ),
        (
            ledger([machine(vm_state="paused")], rows(REQUEST)),
            "is paused, and host h1 says running",
        ),
    ],
)
def test_what_became_of_a_request_otherwise_is_found(held: Ledger, sentence: str) -> None:
    action = next(iter(held.actions.values()), {"id": "a", "reason": None})
    step = held.steps[0] | {"action_id": action["id"], "reason": action["reason"]}
    assert sentence in "\n".join(look(REQUEST, replace(held, steps=[step]), HERE))


def test_a_create_of_two_that_made_one_is_found() -> None:
    request = create(2)
    found = look(request, ledger([machine()], rows(request)), HERE)
    assert found == ["1 instances are named m, 2 were asked for"]


@pytest.mark.parametrize(
    ("here", "there", "sentence"),
    [
        (replace(HERE, boots={MACHINE: 2}), None, "has booted 2 times, and was asked to 1 times"),
        (replace(HERE, guests={}), None, "is active, and host h1 says gone"),
        (replace(HERE, disks=set()), None, "the disk of"),
        (replace(HERE, strays=["the file x"]), None, "on host h1: the file x"),
        (HERE, Inventory({MACHINE: Seen.RUNNING}), "host h2 has a guest"),
        (HERE, Inventory(disks={(MACHINE, 1)}), "that is nobody's"),
        (HERE, Inventory(disks={(OTHER, 1)}), "that is nobody's"),
        (HERE, Inventory(traces={(MACHINE, "x.log")}), "host h2 has x.log"),
        (replace(HERE, disks={(MACHINE, 1), (MACHINE, 2)}), None, "generation 2, that is nobody's"),
    ],
)
def test_what_hosts_have_otherwise_is_found(
    here: Inventory, there: Inventory | None, sentence: str
) -> None:
    (found,) = look(REQUEST, WELL, here, there)
    assert sentence in found


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
