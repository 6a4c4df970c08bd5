"""Draining a host: planned first, watched, paused, cancelled, repeated, and undone."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from falcon.testing import Result

from compute_agent.drivers.fake_control import Behaviour, FakeControl
from tests.fixtures.cloud import Client, Cloud, wait_for

Create = Callable[..., Result]
Aboard = Callable[..., list[str]]
Document = dict[str, Any]
FIELDS = {"id", "host", "status", "reason", "strategy", "max_parallel", "target_zone", "exclude",
          "deadline", "who", "created_at", "updated_at", "finished_at", "notes",
          "counts"}  # fmt: skip
MACHINE = {"id", "name", "how", "target", "status", "verdict", "reason", "host", "progress",
           "seconds", "estimate"}  # fmt: skip
PLANNED = {"id", "name", "how", "target", "reason", "estimate"}
ENDED = ("completed", "cancelled", "failed", "restored")
OLD = "compute 2.42"


@pytest.fixture
def h2(cloud: Cloud) -> Iterator[FakeControl]:
    """The fake hypervisor of the host to which machines of h1 go."""
    control = FakeControl(cloud.place.state("h2") / "fake")
    yield control
    control.clear()


@pytest.fixture
def h1(cloud: Cloud) -> Iterator[FakeControl]:
    """The fake hypervisor of the host that is drained."""
    control = FakeControl(cloud.place.state("h1") / "fake")
    yield control
    control.clear()


@pytest.fixture
def aboard(create: Create, admin: Client) -> Aboard:
    """Creates machines on h1, active or stopped; those move as soon as their turn comes."""

    def post(count: int, stopped: bool = False) -> list[str]:
        answers = [create(admin, host="h1", name=f"m{number}") for number in range(count)]
        ids = [answer.json["server"]["id"] for answer in answers]
        for server_id in ids:
            admin.await_state(server_id, "active")
        for server_id in ids if stopped else []:
            admin.act(server_id, "os-stop")
            admin.await_state(server_id, "stopped")
        return ids

    return post


@pytest.fixture(autouse=True)
def undone(admin: Client) -> Iterator[None]:
    """No drain goes on and every host is open when a test is over."""
    yield
    for drain in admin.get("drains").json["drains"]:
        if drain["status"] not in ENDED:
            steer(admin, drain["id"], {"cancel": {"reopen": True}})
            await_status(admin, drain["id"], *ENDED)
        if paused(admin, drain["host"]):
            assert steer(admin, drain["id"], {"restore": None}).status_code == 202
            await_status(admin, drain["id"], *ENDED)


def drain(admin: Client, **fields: Any) -> Document:
    """A drain of h1 that was accepted."""
    answer = admin.post("drains", {"host": "h1"} | fields)
    assert answer.status_code == 202, answer.text
    found: Document = answer.json["drain"]
    return found


def steer(admin: Client, drain_id: str, body: Any) -> Result:
    return admin.post(f"drains/{drain_id}/action", body)


def await_status(admin: Client, drain_id: str, *statuses: str) -> Document:
    """The drain once it has one of these."""

    def ask() -> Document | None:
        found: Document = admin.get(f"drains/{drain_id}").json["drain"]
        return found if found["status"] in statuses else None

    return wait_for(ask, f"drain {' or '.join(statuses)}", 40.0)


def await_move(admin: Client, drain_id: str) -> Document:
    """The drain once one of its machines moves."""

    def ask() -> Document | None:
        found: Document = admin.get(f"drains/{drain_id}").json["drain"]
        return found if any(each["status"] == "moving" for each in found["machines"]) else None

    return wait_for(ask, "a machine moving")


def drains(admin: Client) -> list[str]:
    return [row["id"] for row in admin.get("drains").json["drains"]]


def homes(admin: Client, ids: list[str]) -> list[str]:
    return [admin.show(server_id)["OS-EXT-SRV-ATTR:host"] for server_id in ids]


def paused(admin: Client, host: str) -> str | None:
    """Why a host is paused, None when it is not."""
    found = admin.get(f"services/{host}").json["service"]
    return (found["paused_reason"] or "") if found["paused"] else None


def message(answer: Result) -> str:
    (fault,) = answer.json.values()
    return str(fault["message"])


def verdicts(found: Document) -> dict[str, str | None]:
    return {machine["id"]: machine["verdict"] for machine in found["machines"]}


def test_a_dry_run_shows_the_plan_and_changes_nothing(admin: Client, aboard: Aboard) -> None:
    ids = aboard(2)
    before = drains(admin)
    answer = admin.post("drains", {"host": "h1", "dry_run": True, "reason": "a look"})
    assert answer.status_code == 200
    assert "Location" not in answer.headers
    found = answer.json["drain"]
    assert set(found) == FIELDS | {"plan", "machines", "estimate"}
    assert (found["id"], found["status"], found["reason"]) == (None, "planned", "a look")
    assert {row["id"]: (row["how"], row["target"]) for row in found["plan"]} == dict.fromkeys(
        ids, ("cold", "h2")
    )
    assert all(set(row) == PLANNED for row in found["plan"])
    assert found["estimate"] >= max(row["estimate"] for row in found["plan"]) > 0
    assert drains(admin) == before
    assert homes(admin, ids) == ["h1", "h1"]
    assert paused(admin, "h1") is None


def test_a_drain_empties_a_host_and_restoring_brings_all_home(
    admin: Client, aboard: Aboard
) -> None:
    running, off = aboard(2)
    assert admin.act(off, "vm-poweroff").status_code == 202
    admin.await_state(off, "powered_off")
    answer = admin.post("drains", {"host": "h1", "reason": "a new disk"})
    assert answer.status_code == 202
    made = answer.json["drain"]
    assert answer.headers["Location"].endswith(f"/compute/v2.1/drains/{made['id']}")
    done = await_status(admin, made["id"], *ENDED)
    assert done["status"] == "completed"
    assert verdicts(done) == {running: "moved", off: "moved"}
    assert done["counts"] == {"moved": 2}
    assert done["finished_at"]
    assert all(set(row) == MACHINE for row in done["machines"])
    assert {(row["host"], row["status"], row["progress"]) for row in done["machines"]} == {
        ("h2", "done", 100)
    }
    assert "a new disk" in str(paused(admin, "h1"))
    admin.await_state(running, "active")
    assert homes(admin, [running]) == ["h2"]
    answer = steer(admin, made["id"], {"restore": None})
    assert answer.status_code == 202
    assert answer.json["drain"]["status"] in ("restoring", "restored")
    back = await_status(admin, made["id"], "restored", "failed")
    assert back["status"] == "restored"
    assert set(verdicts(back).values()) == {"returned"}
    admin.await_state(running, "active")
    admin.await_state(off, "powered_off")
    assert homes(admin, [running]) == ["h1"]
    assert paused(admin, "h1") is None


def test_drains_are_listed_the_newest_first_without_their_machines(admin: Client) -> None:
    made = []
    for host in ("h1", "h3"):
        made.append(drain(admin, host=host)["id"])
        await_status(admin, made[-1], "completed")
    older, newer = made
    rows = admin.get("drains").json["drains"]
    assert [row["id"] for row in rows][:2] == [newer, older]
    assert all(set(row) == FIELDS for row in rows)
    page = admin.get("drains?limit=1").json
    assert [row["id"] for row in page["drains"]] == [newer]
    following = page["drains_links"][0]["href"].partition("/v2.1/")[2]
    assert admin.get(following).json["drains"][0]["id"] == older
    assert admin.get("drains?host=h1").json["drains"][0]["id"] == older
    assert {row["host"] for row in admin.get("drains?host=h3").json["drains"]} == {"h3"}
    assert newer in [row["id"] for row in admin.get("drains?status=completed").json["drains"]]
    assert admin.get("drains?status=running").json["drains"] == []
    assert admin.get("drains?host=h9").json["drains"] == []


def test_a_paused_drain_begins_no_move_until_it_is_resumed(
    admin: Client, aboard: Aboard, h2: FakeControl
) -> None:
    aboard(2)
    h2.set("fetch", Behaviour(delay=1.0))
    made = drain(admin, max_parallel=1)
    moving = await_move(admin, made["id"])
    assert sorted(row["status"] for row in moving["machines"]) == ["moving", "planned"]
    answer = steer(admin, made["id"], {"pause": None})
    assert (answer.status_code, answer.json["drain"]["status"]) == (202, "paused")

    def one_is_done() -> Document | None:
        found: Document = admin.get(f"drains/{made['id']}").json["drain"]
        return found if found["counts"].get("moved") else None

    held = wait_for(one_is_done, "the move that had begun to end")
    assert held["status"] == "paused"
    assert sorted(row["status"] for row in held["machines"]) == ["done", "planned"]
    assert steer(admin, made["id"], {"restore": None}).status_code == 409
    answer = steer(admin, made["id"], {"resume": {}})
    assert (answer.status_code, answer.json["drain"]["status"]) == (202, "running")
    assert await_status(admin, made["id"], *ENDED)["counts"] == {"moved": 2}


@pytest.mark.parametrize("reopen", [True, False])
def test_a_cancelled_drain_leaves_what_has_not_begun_and_opens_the_host_if_asked(
    admin: Client, aboard: Aboard, h2: FakeControl, reopen: bool
) -> None:
    ids = aboard(2, stopped=True)
    h2.set("fetch", Behaviour(delay=1.0))
    made = drain(admin, max_parallel=1)
    await_move(admin, made["id"])
    answer = steer(admin, made["id"], {"cancel": {"reopen": reopen}})
    assert answer.status_code == 202
    assert answer.json["drain"]["status"] in ("cancelling", "cancelled")
    ended = await_status(admin, made["id"], *ENDED)
    assert ended["status"] == "cancelled"
    assert sorted(map(str, verdicts(ended).values())) == ["left", "moved"]
    assert sorted(homes(admin, ids)) == ["h1", "h2"]
    assert (paused(admin, "h1") is None) is reopen


def test_what_failed_stays_where_it_was_and_can_be_tried_again(
    admin: Client, aboard: Aboard, h2: FakeControl
) -> None:
    ids = aboard(1)
    h2.set("fetch", Behaviour(fail="the disk is full"))
    made = drain(admin)
    ended = await_status(admin, made["id"], *ENDED)
    assert verdicts(ended) == {ids[0]: "failed"}
    assert ended["machines"][0]["reason"]
    assert homes(admin, ids) == ["h1"]
    h2.clear()
    answer = steer(admin, made["id"], {"retry": None})
    assert answer.status_code == 202
    assert verdicts(await_status(admin, made["id"], "completed")) == {ids[0]: "moved"}
    admin.await_state(ids[0], "active")
    assert homes(admin, ids) == ["h2"]


def test_a_drain_follows_what_becomes_of_its_machines(
    admin: Client, aboard: Aboard, h2: FakeControl
) -> None:
    ids = aboard(3, stopped=True)
    h2.set("fetch", Behaviour(delay=2.0))
    made = drain(admin, max_parallel=1)
    moving = await_move(admin, made["id"])
    (first,) = [row["id"] for row in moving["machines"] if row["status"] == "moving"]
    deleted, locked = [server_id for server_id in ids if server_id != first]
    assert admin.delete(f"servers/{deleted}").status_code == 204
    admin.await_gone(deleted)
    assert admin.act(locked, "lock", {"locked_reason": "mine"}).status_code == 202
    ended = await_status(admin, made["id"], *ENDED)
    assert verdicts(ended) == {first: "moved", deleted: "gone", locked: "left"}
    reasons = {row["id"]: row["reason"] for row in ended["machines"]}
    assert "mine" in reasons[locked]
    assert ended["status"] == "completed"
    admin.act(locked, "unlock")


def test_a_restoration_can_be_paused_and_cancelled_too(
    admin: Client, aboard: Aboard, h1: FakeControl
) -> None:
    ids = aboard(2, stopped=True)
    made = drain(admin)
    await_status(admin, made["id"], "completed")
    h1.set("fetch", Behaviour(delay=1.0))
    assert steer(admin, made["id"], {"restore": None}).status_code == 202
    await_move(admin, made["id"])
    assert steer(admin, made["id"], {"pause": None}).json["drain"]["status"] == "paused"
    assert steer(admin, made["id"], {"resume": None}).json["drain"]["status"] == "restoring"
    assert steer(admin, made["id"], {"cancel": None}).status_code == 202
    assert await_status(admin, made["id"], *ENDED)["status"] == "cancelled"
    h1.clear()
    assert paused(admin, "h1") is None
    assert steer(admin, made["id"], {"restore": None}).status_code == 202
    assert await_status(admin, made["id"], *ENDED)["status"] == "restored"
    assert homes(admin, ids) == ["h1", "h1"]


def test_excluded_machines_stay(admin: Client, aboard: Aboard) -> None:
    stays, goes = aboard(2)
    made = drain(admin, exclude=[stays, stays])
    assert made["exclude"] == [stays]
    ended = await_status(admin, made["id"], *ENDED)
    assert verdicts(ended) == {stays: "left", goes: "moved"}
    assert next(row for row in ended["machines"] if row["id"] == stays)["reason"]
    assert homes(admin, [stays, goes]) == ["h1", "h2"]


def test_no_move_begins_after_the_deadline(admin: Client, aboard: Aboard, h2: FakeControl) -> None:
    ids = aboard(2, stopped=True)
    h2.set("fetch", Behaviour(delay=4.0))
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    made = drain(admin, deadline=soon.isoformat().replace("+00:00", "Z"), max_parallel=1)
    ended = await_status(admin, made["id"], *ENDED)
    assert datetime.datetime.fromisoformat(ended["deadline"]) == soon
    assert ended["status"] == "failed"
    assert sorted(map(str, verdicts(ended).values())) == ["failed", "moved"]
    assert [row["reason"] for row in ended["machines"] if row["verdict"] == "failed"] == [
        "the drain's time was over"
    ]
    assert sorted(homes(admin, ids)) == ["h1", "h2"]


def test_a_repeat_under_a_key_makes_no_second_drain(admin: Client, aboard: Aboard) -> None:
    aboard(1)
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    wanted = {"host": "h1", "reason": "once", "deadline": "2099-01-01T00:00:00Z"}
    answers = [admin.post("drains", wanted, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    (made,) = {answer.json["drain"]["id"] for answer in answers}
    await_status(admin, made, "completed")
    again = admin.post("drains", wanted, headers=headers)
    assert (again.status_code, again.json["drain"]["id"]) == (202, made)
    steer(admin, made, {"restore": None})
    await_status(admin, made, "restored")
    again = admin.post("drains", wanted, headers=headers)
    assert (again.status_code, again.json["drain"]["status"]) == (202, "restored")
    other = admin.post("drains", wanted | {"max_parallel": 3}, headers=headers)
    assert other.status_code == 400
    assert message(other).startswith("Idempotency-Key: it was used for another request")
    assert [row["reason"] for row in admin.get("drains").json["drains"]].count("once") == 1
    refused = admin.post(f"drains/{made}/action", {"restore": None}, headers=headers)
    assert refused.status_code == 400


@pytest.mark.parametrize("keyed", [True, False])
def test_of_several_at_once_one_drains_the_host(admin: Client, aboard: Aboard, keyed: bool) -> None:
    aboard(1)
    before = drains(admin)
    headers = {"Idempotency-Key": str(uuid.uuid4())} if keyed else {}

    def post(_: int) -> Result:
        return admin.post("drains", {"host": "h1"}, headers=headers)

    with ThreadPoolExecutor(4) as threads:
        statuses = [answer.status_code for answer in threads.map(post, range(4))]
    assert sorted(statuses) == ([202] * 4 if keyed else [202, 409, 409, 409])
    (made,) = set(drains(admin)) - set(before)
    assert await_status(admin, made, *ENDED)["counts"] == {"moved": 1}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hosts": "h1"}, "unknown field 'hosts'"),
        ({"host": None}, "host must be"),
        ({"host": "h 1"}, "host must be"),
        ({"reason": ""}, "reason must be"),
        ({"reason": "x" * 256}, "reason must be"),
        ({"dry_run": "yes"}, "dry_run must be true or false"),
        ({"strategy": "fast"}, "strategy must be auto or live or cold or leave"),
        ({"max_parallel": 0}, "max_parallel must be a whole number from 1 to 100"),
        ({"max_parallel": -1}, "max_parallel must be a whole number from 1 to 100"),
        ({"max_parallel": 10_000_000}, "max_parallel must be a whole number from 1 to 100"),
        ({"max_parallel": 1.5}, "max_parallel must be a whole number from 1 to 100"),
        ({"max_parallel": True}, "max_parallel must be a whole number from 1 to 100"),
        ({"target_zone": 7}, "target_zone must be"),
        ({"exclude": None}, "exclude must be a list"),
        ({"exclude": ["x"]}, "exclude[0] must be a UUID"),
        ({"exclude": [str(uuid.UUID(int=0))] * 1001}, "exclude must be a list of at most 1000"),
        ({"deadline": "tomorrow"}, "deadline must be a time"),
        ({"deadline": "2026-02-30T12:00:00Z"}, "deadline must be a time"),
        ({"deadline": "0001-01-01T00:00:00+10:00"}, "deadline must be a time"),
        ({"deadline": "2026-01-31T12:00:00Z"}, "deadline must be in the future"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_and_nothing_is_drained(
    admin: Client, fields: Document, said: str
) -> None:
    before = drains(admin)
    answer = admin.post("drains", {"host": "h1"} | fields)
    assert answer.status_code == 400
    assert said in message(answer)
    assert drains(admin) == before
    assert paused(admin, "h1") is None


def test_a_host_may_be_named_by_its_services_id(admin: Client) -> None:
    key = admin.get("services/h1").json["service"]["id"]
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    answers = [admin.post("drains", {"host": key}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert {answer.json["drain"]["host"] for answer in answers} == {"h1"}


def test_a_conductor_cannot_be_drained(admin: Client) -> None:
    (name,) = [row["host"] for row in admin.get("services?zone=internal").json["services"]]
    answer = admin.post("drains", {"host": name})
    assert answer.status_code == 404
    wanted = {"maintenance_mode": "enable"}
    assert admin.put(f"os-hosts/{name}", wanted, version=OLD).status_code == 404


def test_a_drain_names_its_host(admin: Client) -> None:
    answer = admin.post("drains", {"reason": "none"})
    assert (answer.status_code, message(answer)) == (400, "host is missing.")


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("fields", "word"), [({"host": "h9"}, "h9"), ({"target_zone": "az9"}, "az9")]
)
def test_what_is_not_there_is_refused(
    admin: Client, fields: Document, word: str, dry_run: bool
) -> None:
    before = drains(admin)
    answer = admin.post("drains", {"host": "h1", "dry_run": dry_run} | fields)
    assert 400 <= answer.status_code < 500
    assert word in message(answer)
    assert drains(admin) == before
    assert paused(admin, "h1") is None


def test_a_host_is_drained_once_at_a_time(admin: Client, aboard: Aboard, h2: FakeControl) -> None:
    aboard(1)
    h2.set("fetch", Behaviour(delay=1.0))
    made = drain(admin)
    answer = admin.post("drains", {"host": "h1"})
    assert answer.status_code == 409
    assert made["id"] in message(answer)
    assert steer(admin, made["id"], {"restore": None}).status_code == 409
    assert await_status(admin, made["id"], *ENDED)["counts"] == {"moved": 1}
    assert steer(admin, made["id"], {"pause": None}).status_code == 409
    assert steer(admin, made["id"], {"resume": None}).status_code == 409


def test_a_drain_that_has_ended_can_be_cancelled_which_opens_the_host(admin: Client) -> None:
    made = drain(admin)
    await_status(admin, made["id"], "completed")
    assert paused(admin, "h1") is not None
    answer = steer(admin, made["id"], {"cancel": None})
    assert (answer.status_code, answer.json["drain"]["status"]) == (202, "cancelled")
    assert paused(admin, "h1") is None
    assert steer(admin, made["id"], {"cancel": None}).status_code == 202
    assert paused(admin, "h1") is None


def test_the_last_host_of_a_zone_is_named_before_it_is_drained(admin: Client) -> None:
    for host, notes in (("h1", []), ("h3", ["Host h3 is the last open host of zone az2."])):
        answer = admin.post("drains", {"host": host, "dry_run": True})
        assert answer.json["drain"]["notes"] == notes


@pytest.mark.parametrize(
    "body",
    [{}, {"pause": None, "resume": None}, {"stop": None}, {"pause": {"now": True}},
     {"cancel": {"reopen": "yes"}}, {"cancel": {"open": True}}, {"PAUSE": None}, []],
    ids=str,
)  # fmt: skip
def test_a_wrong_action_is_a_bad_request(admin: Client, body: object) -> None:
    assert steer(admin, str(uuid.uuid4()), body).status_code == 400


def test_an_unknown_drain_is_not_found(admin: Client) -> None:
    for unknown in (str(uuid.uuid4()), "nothing"):
        assert admin.get(f"drains/{unknown}").status_code == 404
        assert steer(admin, unknown, {"pause": None}).status_code == 404


@pytest.mark.parametrize("query", ["status=draining", "limit=-1", "order=asc"])
def test_a_wrong_query_is_a_bad_request(admin: Client, query: str) -> None:
    assert admin.get(f"drains?{query}").status_code == 400
    assert admin.get(f"drains?marker={uuid.uuid4()}").status_code == 400


def test_maintenance_mode_drains_and_restores(admin: Client, aboard: Aboard) -> None:
    ids = aboard(1)
    answer = admin.put("os-hosts/h1", {"maintenance_mode": "enable"}, version=OLD)
    assert answer.status_code == 200
    assert answer.json == {"host": "h1", "maintenance_mode": "on_maintenance"}
    made = admin.get("drains?host=h1&limit=1").json["drains"][0]
    assert made["reason"] == "maintenance_mode"
    assert await_status(admin, made["id"], *ENDED)["counts"] == {"moved": 1}
    for _ in range(2):
        answer = admin.put("os-hosts/h1", {"maintenance_mode": "disable"}, version=OLD)
        assert answer.status_code == 200
        assert answer.json == {"host": "h1", "maintenance_mode": "off_maintenance"}
    await_status(admin, made["id"], "restored")
    assert homes(admin, ids) == ["h1"]
    assert paused(admin, "h1") is None


def test_ending_the_maintenance_early_stops_the_drain_and_opens_the_host(
    admin: Client, aboard: Aboard, h2: FakeControl
) -> None:
    aboard(2, stopped=True)
    h2.set("fetch", Behaviour(delay=1.0))
    made = drain(admin, max_parallel=1)
    await_move(admin, made["id"])
    answer = admin.put("os-hosts/h1", {"maintenance_mode": "disable"}, version=OLD)
    assert answer.status_code == 200
    await_status(admin, made["id"], "cancelled")
    assert paused(admin, "h1") is None


@pytest.mark.parametrize(
    ("path", "body", "version", "status", "said"),
    [
        ("os-hosts/h1", {"maintenance_mode": "perhaps"}, OLD, 400, "enable or disable"),
        ("os-hosts/h1", {"status": "disable"}, OLD, 400, "/os-services"),
        ("os-hosts/h1", {}, OLD, 400, "maintenance_mode"),
        ("os-hosts/h9", {"maintenance_mode": "enable"}, OLD, 404, "h9"),
        ("os-hosts/h9", {"maintenance_mode": "disable"}, OLD, 404, "h9"),
        ("os-hosts/h1", {"maintenance_mode": "enable"}, "compute 2.43", 404, "2.43"),
    ],
)
def test_wrong_maintenance_is_refused(
    admin: Client, path: str, body: Document, version: str, status: int, said: str
) -> None:
    before = drains(admin)
    answer = admin.put(path, body, version=version)
    assert answer.status_code == status
    assert said in message(answer)
    assert drains(admin) == before
