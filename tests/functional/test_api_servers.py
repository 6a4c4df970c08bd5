"""Servers: create, list, show, rename, delete."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from falcon.testing import Result

from tests.fixtures.cloud import Client, wait_for

Create = Callable[..., Result]
UNKNOWN = "6f1ed002-ab59-4dc1-8d0a-000000000000"


def test_a_server_is_created_and_becomes_active(create: Create, member: Client) -> None:
    answer = create(member, name="one", metadata={"role": "web"}, description="first")
    assert answer.status_code == 202
    made = answer.json["server"]
    assert set(made) == {"id", "links", "OS-DCF:diskConfig", "adminPass", "security_groups"}
    assert answer.headers["Location"].endswith(f"/compute/v2.1/servers/{made['id']}")
    found = member.await_state(made["id"], "active")
    assert found["status"] == "ACTIVE"
    assert found["metadata"] == {"role": "web"}
    assert found["description"] == "first"
    assert found["OS-EXT-STS:power_state"] == 1
    assert found["OS-EXT-AZ:availability_zone"] in ("az1", "az2")
    ((address,),) = found["addresses"].values()
    assert address["OS-EXT-IPS:type"] == "fixed"
    assert address["addr"].startswith("10.77.")


def test_the_zone_asked_for_is_the_zone_it_gets(
    create: Create, member: Client, admin: Client
) -> None:
    made = create(member, availability_zone="az2").json["server"]["id"]
    assert member.await_state(made, "active")["OS-EXT-AZ:availability_zone"] == "az2"
    assert admin.show(made)["OS-EXT-SRV-ATTR:host"] == "h3"
    assert "OS-EXT-SRV-ATTR:host" not in member.show(made)


def test_no_network_is_no_address(create: Create, member: Client) -> None:
    made = create(member, networks="none").json["server"]["id"]
    assert member.await_state(made, "active")["addresses"] == {}


def test_several_servers_are_numbered(create: Create, member: Client, admin: Client) -> None:
    answer = create(member, name="many", min_count=2, max_count=3, return_reservation_id=True)
    assert answer.status_code == 202
    reservation = answer.json["reservation_id"]
    rows = admin.get(f"servers/detail?all_tenants=1&reservation_id={reservation}").json["servers"]
    assert sorted(row["name"] for row in rows) == ["many-1", "many-2", "many-3"]
    for row in rows:
        admin.delete(f"servers/{row['id']}")


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"availability_zone": "nowhere"}, 400, "nowhere"),
        ({"flavorRef": "nothing"}, 400, "flavor"),
        ({"imageRef": UNKNOWN}, 400, "image"),
        ({"networks": [{"uuid": UNKNOWN}]}, 400, "network"),
        ({"min_count": 3, "max_count": 2}, 400, "min_count"),
        ({"surprise": True}, 400, "surprise"),
        ({"name": "x" * 300}, 400, "server.name"),
        ({"host": "h1"}, 403, "forced_host"),
    ],
    ids=str,
)
def test_what_cannot_be_created_is_refused_by_name(
    create: Create, member: Client, fields: dict[str, object], status: int, named: str
) -> None:
    answer = create(member, **fields)
    assert answer.status_code == status
    (fault,) = answer.json.values()
    assert named.lower() in fault["message"].lower()


def test_a_reader_reads_only(create: Create, reader: Client, server: str) -> None:
    assert reader.get(f"servers/{server}").status_code == 200
    assert create(reader).status_code == 403
    assert reader.delete(f"servers/{server}").status_code == 403
    assert reader.act(server, "pause").status_code == 403


def test_another_projects_server_is_not_there(other: Client, server: str) -> None:
    assert other.get(f"servers/{server}").status_code == 404
    assert other.act(server, "pause").status_code == 404
    assert other.delete(f"servers/{server}").status_code == 404
    assert other.put(f"servers/{server}", {"server": {"name": "x"}}).status_code == 404


@pytest.mark.parametrize("key", ["machine", "1", "x" * 300, "11111111-2222-3333-4444-55555555555",
                                 "11111111-2222-3333-4444-555555555555", "ü", "a b"])  # fmt: skip
def test_asking_by_a_name_is_a_clean_not_found(member: Client, key: str) -> None:
    for answer in (member.get(f"servers/{key}"), member.act(key, "pause")):
        assert answer.status_code == 404
        assert answer.json["itemNotFound"]["code"] == 404


def test_a_server_is_renamed(member: Client, server: str) -> None:
    answer = member.put(f"servers/{server}", {"server": {"name": "new", "description": None}})
    assert answer.status_code == 200
    assert answer.json["server"]["name"] == "new"
    assert member.show(server)["name"] == "new"


def test_a_deleted_server_is_gone(create: Create, member: Client, admin: Client) -> None:
    made = create(member).json["server"]["id"]
    member.await_state(made, "active")
    answer = member.delete(f"servers/{made}")
    assert (answer.status_code, answer.text) == (204, "")
    member.await_gone(made)
    assert member.delete(f"servers/{made}").status_code == 404
    rows = admin.get("servers/detail?all_tenants=1&deleted=True").json["servers"]
    assert [row["status"] for row in rows if row["id"] == made] == ["DELETED"]


@pytest.mark.parametrize(
    ("version", "there", "absent"),
    [
        ("2.1", ["hostId", "OS-EXT-STS:power_state"], ["locked", "description", "tags"]),
        ("2.8", [], ["locked"]),
        ("2.9", ["locked"], ["description"]),
        ("2.19", ["description"], ["tags"]),
        ("2.26", ["tags"], ["trusted_image_certificates"]),
        ("2.63", ["trusted_image_certificates"], ["server_groups"]),
        ("2.71", ["server_groups"], ["locked_reason"]),
        ("2.73", ["locked_reason"], ["pinned_availability_zone"]),
        ("2.96", ["pinned_availability_zone"], []),
    ],
)
def test_a_server_has_the_fields_of_its_version(
    member: Client, server: str, version: str, there: list[str], absent: list[str]
) -> None:
    found = member.get(f"servers/{server}", version=f"compute {version}").json["server"]
    assert set(there) <= set(found)
    assert not set(absent) & set(found)


def test_the_flavor_is_a_link_before_it_is_embedded(member: Client, server: str) -> None:
    for version, keys in (("2.46", {"id", "links"}),
                          ("2.47", {"vcpus", "ram", "disk", "ephemeral", "swap", "original_name"}),
                          ("2.61", {"vcpus", "ram", "disk", "ephemeral", "swap", "original_name",
                                    "extra_specs"})):  # fmt: skip
        found = member.get(f"servers/{server}", version=f"compute {version}").json["server"]
        assert set(found["flavor"]) == keys


def test_a_repeated_create_with_a_key_makes_one_server(create: Create, member: Client) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = create(member, headers=key, name="once")
    again = create(member, headers=key, name="once")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json == again.json
    rows = member.get("servers?name=^once$").json["servers"]
    assert len(rows) == 1
    assert create(member, headers=key, name="twice").status_code == 400
    assert create(member, headers={"Idempotency-Key": "é" * 3}).status_code == 400


def test_a_repeated_action_with_a_key_is_done_once(member: Client, server: str) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    assert member.act(server, "pause", headers=key).status_code == 202
    member.await_state(server, "paused")
    assert member.act(server, "pause", headers=key).status_code == 202
    assert member.act(server, "pause").status_code == 409
    assert member.act(server, "unpause", headers=key).status_code == 400


def test_what_became_of_a_repeated_request_is_found_by_each_answers_request_id(
    create: Create, member: Client, server: str
) -> None:
    for send in (
        lambda headers: create(member, headers=headers, name="found"),
        lambda headers: member.act(server, "pause", headers=headers),
        lambda headers: member.delete(f"servers/{server}", headers=headers),
    ):
        key = {"Idempotency-Key": uuid.uuid4().hex}
        answers = [send(key) for _ in range(2)]
        ids = {answer.headers["X-Openstack-Request-Id"] for answer in answers}
        made = answers[0].json["server"]["id"] if answers[0].text else server
        for request_id in ids:
            found = member.get(f"servers/{made}/os-instance-actions/{request_id}")
            assert found.json["instanceAction"]["request_id"] == request_id


def test_metadata_is_edited(member: Client, server: str) -> None:
    path = f"servers/{server}/metadata"
    assert member.put(path, {"metadata": {"a": "1"}}).json == {"metadata": {"a": "1"}}
    assert member.post(path, {"metadata": {"b": "2"}}).json == {"metadata": {"a": "1", "b": "2"}}
    assert member.put(f"{path}/a", {"meta": {"a": "3"}}).json == {"meta": {"a": "3"}}
    assert member.get(f"{path}/a").json == {"meta": {"a": "3"}}
    assert member.delete(f"{path}/b").status_code == 204
    assert member.get(path).json == {"metadata": {"a": "3"}}
    assert member.get(f"{path}/b").status_code == 404
    assert member.put(f"{path}/b", {"meta": {"c": "3"}}).status_code == 400


def test_a_locked_servers_metadata_stays(member: Client, admin: Client, server: str) -> None:
    path = f"servers/{server}/metadata"
    assert member.put(path, {"metadata": {"a": "1"}}).status_code == 200
    for locker in (member, admin):
        assert locker.act(server, "lock", {"locked_reason": "an audit"}).status_code == 202
        for answer in (
            member.post(path, {"metadata": {"b": "2"}}),
            member.put(path, {"metadata": {}}),
            member.put(f"{path}/a", {"meta": {"a": "2"}}),
            member.delete(f"{path}/a"),
            member.delete(f"{path}/nothing"),
        ):
            assert answer.status_code == 409
            assert "an audit" in answer.json["conflictingRequest"]["message"]
        assert member.get(path).json == {"metadata": {"a": "1"}}
        assert admin.put(path, {"metadata": {"a": "1"}}).status_code == 200
        assert member.put(f"servers/{server}", {"server": {"name": "n"}}).status_code == 200
        assert locker.act(server, "unlock").status_code == 202
    assert member.put(path, {"metadata": {}}).status_code == 200


def test_the_host_name_is_an_administrators_before_it_is_everybodys(
    member: Client, admin: Client, server: str
) -> None:
    field = "OS-EXT-SRV-ATTR:hostname"
    for version, to_admins, to_members in (("2.2", False, False), ("2.3", True, False),
                                           ("2.89", True, False),
                                           ("2.90", True, True)):  # fmt: skip
        for client, seen in ((admin, to_admins), (member, to_members)):
            found = client.get(f"servers/{server}", version=f"compute {version}").json["server"]
            assert (field in found) is seen


def test_the_pinned_zone_is_the_one_asked_for(create: Create, member: Client) -> None:
    for wanted in ("az1", None):
        made = create(member, availability_zone=wanted, networks="none").json["server"]["id"]
        assert member.show(made)["pinned_availability_zone"] == wanted


def test_parts_that_clients_ask_for_are_there(member: Client, server: str) -> None:
    assert member.get(f"servers/{server}/tags").json == {"tags": []}
    assert member.get(f"servers/{server}/tags", version="compute 2.25").status_code == 404
    addresses = member.get(f"servers/{server}/ips").json["addresses"]
    (network,) = addresses
    assert member.get(f"servers/{server}/ips/{network}").json == addresses
    assert member.get(f"servers/{server}/ips/none").status_code == 404
    (port,) = member.get(f"servers/{server}/os-interface").json["interfaceAttachments"]
    assert port["fixed_ips"][0]["ip_address"] == addresses[network][0]["addr"]
    assert member.get(f"servers/{server}/os-volume_attachments").json == {"volumeAttachments": []}
    (group,) = member.get(f"servers/{server}/os-security-groups").json["security_groups"]
    assert group["name"] == "default"


def test_a_create_without_room_says_why(create: Create, admin: Client) -> None:
    big = {"name": "big", "vcpus": 1, "ram": 65536, "disk": 1}
    made = admin.post("flavors", {"flavor": big}).json["flavor"]["id"]
    answer = create(admin, flavorRef=made)
    assert answer.status_code == 409
    assert "h" in answer.json["conflictingRequest"]["message"]
    admin.delete(f"flavors/{made}")


def test_the_console_is_shown(member: Client, server: str) -> None:
    for value in ({}, {"length": 3}, {"length": None}, {"length": "5"}):
        answer = member.act(server, "os-getConsoleOutput", value)
        assert answer.status_code == 200
        assert isinstance(answer.json["output"], str)
    assert member.act(server, "os-getConsoleOutput", {"length": -7}).status_code == 400
    assert member.act(server, "os-getConsoleOutput", {"length": 10**9}).status_code == 400


def test_actions_are_listed_with_their_steps(member: Client, admin: Client, server: str) -> None:
    answer = member.act(server, "pause")
    member.await_state(server, "paused")
    request_id = answer.headers["X-Compute-Request-Id"]
    rows = member.get(f"servers/{server}/os-instance-actions").json["instanceActions"]
    assert [row["action"] for row in rows] == ["pause", "create"]
    assert rows[0]["request_id"] == request_id
    path = f"servers/{server}/os-instance-actions/{request_id}"

    def finished() -> object:
        found = admin.get(path).json["instanceAction"]
        return found if found["status"] == "succeeded" else None

    found = wait_for(finished, "the end of pause")
    assert isinstance(found, dict)
    (step,) = found["steps"]
    assert step["kind"] == "pause"
    assert step["status"] == "succeeded"
    assert step["attempt"] == 1
    assert step["host"].startswith("h")
    (event,) = found["events"]
    assert event["result"] == "Success"
    assert member.get(f"{path}x").status_code == 404
    old = member.get(path, version="compute 2.1").json["instanceAction"]
    assert "updated_at" not in old
    for client, version, seen in ((member, "2.50", False), (member, "2.51", True),
                                  (admin, "2.1", True)):  # fmt: skip
        shown = client.get(path, version=f"compute {version}").json["instanceAction"]
        assert ("events" in shown) is seen


def test_what_was_asked_of_a_deleted_server_is_found_from_its_version_on(
    create: Create, member: Client
) -> None:
    answer = create(member, networks="none")
    made = answer.json["server"]["id"]
    member.await_state(made, "active")
    member.delete(f"servers/{made}")
    member.await_gone(made)
    path = f"servers/{made}/os-instance-actions"
    for below in (path, f"{path}/{answer.headers['X-Compute-Request-Id']}"):
        assert member.get(below, version="compute 2.20").status_code == 404
        assert member.get(below, version="compute 2.21").status_code == 200
