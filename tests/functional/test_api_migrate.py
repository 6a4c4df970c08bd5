"""Moving a server that does not run: for administrators, as the compute API has it."""

from __future__ import annotations

import pytest

from compute_agent.drivers.fake_control import Behaviour, FakeControl
from tests.fixtures.cloud import Client, Cloud


def stop(member: Client, server: str) -> str:
    """Stop a server; gives its host."""
    assert member.act(server, "os-stop").status_code == 202
    return str(member.await_state(server, "stopped")["id"])


def home(admin: Client, server: str) -> str:
    return str(admin.show(server)["OS-EXT-SRV-ATTR:host"])


def test_a_stopped_server_goes_to_the_host_asked_for(
    member: Client, admin: Client, server: str
) -> None:
    stop(member, server)
    before = admin.show(server)
    target = "h3" if home(admin, server) != "h3" else "h1"
    assert admin.act(server, "migrate", {"host": target}).status_code == 202
    after = admin.await_state(server, "stopped")
    assert after["OS-EXT-SRV-ATTR:host"] == target
    assert (after["status"], after["addresses"]) == ("SHUTOFF", before["addresses"])
    assert member.act(server, "os-start").status_code == 202
    member.await_state(server, "active")


def test_while_it_moves_it_is_shown_as_resized(
    cloud: Cloud, member: Client, admin: Client, server: str
) -> None:
    stop(member, server)
    target = "h3" if home(admin, server) != "h3" else "h1"
    control = FakeControl(cloud.place.state(target) / "fake")
    control.set("fetch", Behaviour(delay=2.0), server)
    assert admin.act(server, "migrate", {"host": target}).status_code == 202
    shown = admin.show(server)
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("RESIZE", "resize_migrating")
    listed = admin.get("servers?status=RESIZE&all_tenants=1").json["servers"]
    assert server in [row["id"] for row in listed]
    admin.await_state(server, "stopped")


@pytest.mark.parametrize("body", [None, {}, {"host": None}, {"availability_zone": None}])
def test_without_a_target_any_other_host_will_do(
    member: Client, admin: Client, server: str, body: object
) -> None:
    stop(member, server)
    before = home(admin, server)
    assert admin.act(server, "migrate", body).status_code == 202
    admin.await_state(server, "stopped")
    assert home(admin, server) != before


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"host": "h9"}, "host: The host h9 does not exist"),
        ({"availability_zone": "az9"}, "availability_zone: The zone az9 does not exist"),
        ({"host": 3}, "host"),
        ({"hosts": "h3"}, "hosts"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_changes(
    member: Client, admin: Client, server: str, body: object, said: str
) -> None:
    stop(member, server)
    before = home(admin, server)
    answer = admin.act(server, "migrate", body)
    assert answer.status_code == 400
    assert said in answer.json["badRequest"]["message"]
    assert home(admin, server) == before


def test_the_host_is_asked_for_from_2_56_on(member: Client, admin: Client, server: str) -> None:
    stop(member, server)
    older = "compute 2.55"
    assert admin.act(server, "migrate", {"host": "h3"}, version=older).status_code == 400
    assert admin.act(server, "migrate", version=older).status_code == 202
    admin.await_state(server, "stopped")


def test_a_server_that_runs_is_not_moved_so(admin: Client, server: str) -> None:
    answer = admin.act(server, "migrate")
    assert answer.status_code == 409
    assert "powered_off or stopped" in answer.json["conflictingRequest"]["message"]
