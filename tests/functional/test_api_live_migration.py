"""Moving a server that runs: for administrators, as the compute API has it."""

from __future__ import annotations

import pytest

from compute_agent.drivers.fake_control import Behaviour, FakeControl
from tests.fixtures.cloud import Client, Cloud, wait_for

VERB = "os-migrateLive"


def home(admin: Client, server: str) -> str:
    return str(admin.show(server)["OS-EXT-SRV-ATTR:host"])


def other_than(host: str) -> str:
    return "h1" if host == "h3" else "h3"


def body(host: str | None) -> dict[str, object]:
    return {"host": host, "block_migration": "auto"}


def console(admin: Client, server: str) -> str:
    answer = admin.act(server, "os-getConsoleOutput", {})
    return str(answer.json["output"])


def counter(admin: Client, server: str) -> tuple[int, int]:
    """Boots, and the last number that the guest printed."""
    line = wait_for(lambda: console(admin, server).splitlines()[-1:], "line")[0]
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    return int(words["boots"]), int(words["counter"])


def test_a_server_that_runs_goes_to_the_host_asked_for_and_runs_on(
    admin: Client, server: str
) -> None:
    before, boots = admin.show(server), counter(admin, server)
    target = other_than(home(admin, server))
    assert admin.act(server, VERB, body(target)).status_code == 202
    after = admin.await_state(server, "active")
    assert after["OS-EXT-SRV-ATTR:host"] == target
    assert (after["status"], after["addresses"]) == ("ACTIVE", before["addresses"])
    assert counter(admin, server)[0] == boots[0]
    assert counter(admin, server)[1] >= boots[1]


def test_while_it_moves_it_is_shown_as_migrating(cloud: Cloud, admin: Client, server: str) -> None:
    control = FakeControl(cloud.place.state(home(admin, server)) / "fake")
    control.set("send", Behaviour(delay=2.0), server)
    assert admin.act(server, VERB, body(None)).status_code == 202
    shown = admin.show(server)
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("MIGRATING", "migrating")
    listed = admin.get("servers?status=MIGRATING&all_tenants=1").json["servers"]
    assert server in [row["id"] for row in listed]
    admin.await_state(server, "active")
    control.clear()


def test_when_it_cannot_be_sent_it_runs_where_it_was(
    cloud: Cloud, admin: Client, server: str
) -> None:
    source = home(admin, server)
    control = FakeControl(cloud.place.state(source) / "fake")
    control.set("send", Behaviour(fail="The link broke.", times=1), server)
    assert admin.act(server, VERB, body(None)).status_code == 202
    admin.await_state(server, "active")
    assert home(admin, server) == source
    action = admin.get(f"servers/{server}/os-instance-actions").json["instanceActions"][0]
    assert (action["action"], action["status"]) == ("live-migration", "failed")
    assert counter(admin, server)[0] == 1


@pytest.mark.parametrize(
    ("wrong", "version", "said"),
    [
        ({"host": "h9", "block_migration": "auto"}, "2.96", "host: The host h9 does not exist"),
        ({"host": None, "block_migration": False}, "2.96", "block_migration"),
        ({"host": None, "block_migration": "often"}, "2.96", "block_migration"),
        ({"host": None}, "2.96", "block_migration"),
        ({"block_migration": "auto"}, "2.96", "host"),
        ({"host": None, "block_migration": "auto", "disk_over_commit": False}, "2.25",
         "disk_over_commit"),
        ({"host": None, "block_migration": "auto", "force": True}, "2.29", "force"),
        ({"host": None, "block_migration": "auto", "force": True}, "2.68", "force"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_changes(
    admin: Client, server: str, wrong: dict[str, object], version: str, said: str
) -> None:
    before = home(admin, server)
    answer = admin.act(server, VERB, wrong, version=f"compute {version}")
    assert answer.status_code == 400
    assert said in answer.json["badRequest"]["message"]
    assert home(admin, server) == before


@pytest.mark.parametrize(
    ("more", "version"),
    [({"disk_over_commit": False}, "2.24"), ({"force": False}, "2.30"), ({}, "2.68")],
)
def test_each_version_has_its_own_words(
    admin: Client, server: str, more: dict[str, object], version: str
) -> None:
    wanted = {"host": None, "block_migration": True} | more
    assert admin.act(server, VERB, wanted, version=f"compute {version}").status_code == 202
    admin.await_state(server, "active")


def test_a_member_may_not(member: Client, server: str) -> None:
    assert member.act(server, VERB, body(None)).status_code == 403


def test_a_server_that_does_not_run_is_not_moved_so(admin: Client, server: str) -> None:
    assert admin.act(server, "os-stop").status_code == 202
    admin.await_state(server, "stopped")
    answer = admin.act(server, VERB, body(None))
    assert answer.status_code == 409
    assert "must be active" in answer.json["conflictingRequest"]["message"]
