"""Services, hosts, zones, aggregates, hypervisors, flavors, images, and the API's description."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import jsonschema
import pytest
from falcon.testing import Result

from api.cmd import build
from paddock.config import load
from tests.fixtures.cloud import Client, Cloud

FIELDS = {"id", "host", "binary", "zone", "state", "paused", "paused_reason", "paused_since",
          "last_heartbeat", "version", "capabilities", "resources"}  # fmt: skip


def service_of(admin: Client, host: str) -> dict[str, object]:
    rows = [row for row in admin.get("services").json["services"] if row["host"] == host]
    found: dict[str, object] = rows[0]
    return found


def test_services_are_shown_with_what_the_issue_names(admin: Client) -> None:
    for base in ("/compute/v2.1", "/v2.1"):
        rows = admin.get(f"{base}/services").json["services"]
        assert {"h1", "h2", "h3"} <= {row["host"] for row in rows}
        assert all(set(row) == FIELDS for row in rows)
    found = admin.get(f"services/{rows[0]['id']}").json["service"]
    assert found["id"] == rows[0]["id"]
    narrowed = admin.get("services?zone=az2").json["services"]
    assert [row["host"] for row in narrowed] == ["h3"]
    assert admin.get("services/nothing").status_code == 404


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_services_cannot_be_changed_in_the_list(admin: Client, method: str) -> None:
    answer = admin.call(method, "services")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_a_paused_host_refuses_users_with_the_reason(
    admin: Client, member: Client, server: str
) -> None:
    host = admin.show(server)["OS-EXT-SRV-ATTR:host"]
    path = f"services/{service_of(admin, host)['id']}/action"
    assert admin.post(path, {"PAUSE": {"reason": "new fans"}}).status_code == 202
    shown = service_of(admin, host)
    assert (shown["paused"], shown["paused_reason"]) == (True, "new fans")
    assert shown["paused_since"]
    answer = member.act(server, "pause")
    assert answer.status_code == 409
    assert "new fans" in answer.json["conflictingRequest"]["message"]
    assert member.get(f"servers/{server}").status_code == 200
    assert admin.act(server, "pause").status_code == 202
    admin.await_state(server, "paused")
    assert admin.post(f"{path}s", {"resume": {}}).status_code == 202
    assert service_of(admin, host)["paused"] is False
    assert member.act(server, "unpause").status_code == 202


@pytest.mark.parametrize("verb", ["START", "stop"])
def test_start_and_stop_say_what_is_missing(admin: Client, verb: str) -> None:
    answer = admin.post(f"services/{service_of(admin, 'h1')['id']}/action", {verb: {}})
    assert answer.status_code == 400
    assert "supervisor" in answer.json["badRequest"]["message"]


@pytest.mark.parametrize("verb", ["START", "stop", "PAUSE", "RESUME"])
def test_service_actions_ask_who_calls_and_whether_it_is_there_first(
    admin: Client, member: Client, reader: Client, verb: str
) -> None:
    path = f"services/{service_of(admin, 'h1')['id']}/action"
    assert member.post(path, {verb: {}}).status_code == 403
    assert reader.post(path, {verb: {}}).status_code == 403
    assert admin.post("services/nothing/action", {verb: {}}).status_code == 404


@pytest.mark.parametrize("body", [{}, {"PAUSE": {}, "RESUME": {}}, {"REBOOT": {}},
                                  {"PAUSE": {"why": "x"}}, {"PAUSE": {"reason": 7}},
                                  {"RESUME": {"reason": "x"}}, []], ids=str)  # fmt: skip
def test_a_wrong_service_action_is_a_bad_request(admin: Client, body: object) -> None:
    answer = admin.post(f"services/{service_of(admin, 'h1')['id']}/action", body)
    assert answer.status_code == 400
    assert service_of(admin, "h1")["paused"] is False


def test_services_are_an_administrators(member: Client, admin: Client) -> None:
    identifier = service_of(admin, "h1")["id"]
    assert member.get("services").status_code == 403
    assert member.get(f"services/{identifier}").status_code == 403
    assert member.post(f"services/{identifier}/action", {"PAUSE": {}}).status_code == 403
    assert member.get("os-services").status_code == 403
    assert member.get("os-hypervisors").status_code == 403
    assert member.get("os-aggregates").status_code == 403
    assert member.get("os-availability-zone/detail").status_code == 403


def test_os_services_are_the_compute_apis_own(admin: Client) -> None:
    rows = admin.get("os-services?binary=nova-compute").json["services"]
    assert [row["host"] for row in rows] == ["h1", "h2", "h3"]
    assert all(row["state"] == "up" and row["status"] == "enabled" for row in rows)
    assert "forced_down" not in admin.get("os-services", version="compute 2.10").json["services"][0]
    old = admin.get("os-services", version="compute 2.52").json["services"][0]
    assert isinstance(old["id"], int)
    path = f"os-services/{rows[0]['id']}"
    changed = admin.put(path, {"status": "disabled", "disabled_reason": "old"})
    assert changed.json["service"]["disabled_reason"] == "old"
    assert admin.put(path, {"status": "enabled"}).json["service"]["status"] == "enabled"
    assert admin.put(path, {"disabled_reason": "x"}).status_code == 400
    assert admin.put(path, {"status": "broken"}).status_code == 400
    assert admin.put(path, {"status": "enabled"}, version="compute 2.52").status_code == 404
    assert admin.delete(path).status_code == 409


def test_the_older_form_names_host_and_binary(admin: Client) -> None:
    old = "compute 2.11"
    which = {"host": "h2", "binary": "nova-compute"}
    answer = admin.put("os-services/disable-log-reason", which | {"disabled_reason": "r"},
                       version=old)  # fmt: skip
    assert answer.json["service"] == which | {"status": "disabled", "disabled_reason": "r"}
    answer = admin.put("os-services/enable", which, version=old)
    assert answer.json["service"] == which | {"status": "enabled"}
    assert admin.put("os-services/disable", which, version=old).json["service"]["status"]
    assert admin.put("os-services/enable", which, version=old).status_code == 200
    assert admin.put("os-services/enable", which, version="compute 2.53").status_code == 404
    assert admin.put("os-services/enable", {"host": "h2"}, version=old).status_code == 400
    for verb in ("disable", "force-down"):
        other = {"host": "h2", "binary": "nova-conductor"}
        assert admin.put(f"os-services/{verb}", other, version=old).status_code == 404
    rows = admin.get("os-services?host=h2").json["services"]
    assert [(row["status"], row["forced_down"]) for row in rows] == [("enabled", False)]


def test_hypervisors_have_addresses_uptimes_and_resources(admin: Client) -> None:
    rows = admin.get("os-hypervisors/detail", version="compute 2.53").json["hypervisors"]
    assert {row["hypervisor_hostname"] for row in rows} == {"h1", "h2", "h3"}
    for row in rows:
        assert row["memory_mb"] == 16384
        assert row["free_ram_mb"] == row["memory_mb"] - row["memory_mb_used"]
        assert row["host_ip"]
    new = admin.get(f"os-hypervisors/{rows[0]['id']}").json["hypervisor"]
    assert "up" in new["uptime"]
    assert "memory_mb" not in new
    assert admin.get("os-hypervisors/h1").json["hypervisor"]["hypervisor_hostname"] == "h1"
    old = admin.get("os-hypervisors", version="compute 2.1").json["hypervisors"][0]["id"]
    again = admin.get(f"os-hypervisors/{old}/uptime", version="compute 2.1").json["hypervisor"]
    assert again["id"] == old
    sums = admin.get("os-hypervisors/statistics", version="compute 2.87").json
    assert sums["hypervisor_statistics"]["count"] == 3
    assert admin.get("os-hypervisors/statistics").status_code == 404
    assert admin.get("os-hypervisors/nothing").status_code == 404


def test_hypervisors_name_their_servers_when_asked(admin: Client, server: str) -> None:
    host = admin.show(server)["OS-EXT-SRV-ATTR:host"]
    one = {"uuid": server, "name": "machine"}
    for path in ("os-hypervisors", "os-hypervisors/detail"):
        asked = admin.get(f"{path}?with_servers=1").json["hypervisors"]
        assert one in next(row for row in asked if row["hypervisor_hostname"] == host)["servers"]
        assert all("servers" in row for row in asked)
        old = admin.get(f"{path}?with_servers=1", version="compute 2.74").json["hypervisors"]
        assert all(row.get("servers", [one]) for row in old)
        for query, version in (("", "2.53"), ("", "2.96"), ("?with_servers=1", "2.52")):
            rows = admin.get(f"{path}{query}", version=f"compute {version}").json["hypervisors"]
            assert not any("servers" in row for row in rows)
    assert one in admin.get(f"os-hypervisors/{host}?with_servers=1").json["hypervisor"]["servers"]
    assert "servers" not in admin.get(f"os-hypervisors/{host}").json["hypervisor"]


def test_a_zones_hosts_tell_whether_they_are_enabled_and_alive(admin: Client) -> None:
    path = f"os-services/{service_of(admin, 'h2')['id']}"

    def shown() -> dict[str, object]:
        zones = admin.get("os-availability-zone/detail").json["availabilityZoneInfo"]
        hosts = next(zone["hosts"] for zone in zones if zone["zoneName"] == "az1")
        found: dict[str, object] = hosts["h2"]["nova-compute"]
        return found

    before = shown()
    assert (before["active"], before["available"]) == (True, True)
    assert str(before["updated_at"]).startswith("20")
    assert admin.put(path, {"status": "disabled"}).status_code == 200
    assert (shown()["active"], shown()["available"]) == (False, True)
    assert admin.put(path, {"status": "enabled"}).status_code == 200
    assert shown()["active"] is True


def test_zones_are_listed(member: Client, admin: Client) -> None:
    rows = member.get("os-availability-zone").json["availabilityZoneInfo"]
    assert {row["zoneName"]: row["hosts"] for row in rows} == {"az1": None, "az2": None}
    detail = admin.get("os-availability-zone/detail").json["availabilityZoneInfo"]
    hosts = {row["zoneName"]: sorted(row["hosts"]) for row in detail}
    (conductor,) = hosts.pop("internal")
    assert hosts == {"az1": ["h1", "h2"], "az2": ["h3"]}
    (row,) = [row for row in detail if row["zoneName"] == "internal"]
    assert row["zoneState"] == {"available": True}
    assert row["hosts"][conductor]["nova-conductor"]["available"] is True


@pytest.mark.parametrize("zone", ["az:h1", "internal", ":", ""])
def test_a_zones_name_is_one_that_a_create_can_name(admin: Client, zone: str) -> None:
    kept = admin.post("os-aggregates", {"aggregate": {"name": "kept"}}).json["aggregate"]
    path = f"os-aggregates/{kept['id']}"
    wanted = {"availability_zone": zone}
    for answer in (
        admin.post("os-aggregates", {"aggregate": {"name": "zoned"} | wanted}),
        admin.put(path, {"aggregate": wanted}),
        admin.post(f"{path}/action", {"set_metadata": {"metadata": wanted}}),
    ):
        assert answer.status_code == 400
        assert "availability_zone must be" in answer.json["badRequest"]["message"]
    assert admin.delete(path).status_code == 200


def test_aggregates_group_hosts(admin: Client) -> None:
    made = admin.post("os-aggregates", {"aggregate": {"name": "fast"}}).json["aggregate"]
    path = f"os-aggregates/{made['id']}"
    added = admin.post(f"{path}/action", {"add_host": {"host": "h1"}})
    assert added.json["aggregate"]["hosts"] == ["h1"]
    labelled = admin.post(f"{path}/action", {"set_metadata": {"metadata": {"disk": "ssd"}}})
    assert labelled.json["aggregate"]["metadata"]["disk"] == "ssd"
    renamed = admin.put(path, {"aggregate": {"name": "faster"}})
    assert renamed.json["aggregate"]["name"] == "faster"
    assert admin.delete(path).status_code in (400, 409)
    assert admin.post(f"{path}/action", {"remove_host": {"host": "h1"}}).status_code == 200
    assert "uuid" not in admin.get(path, version="compute 2.40").json["aggregate"]
    assert admin.delete(path).status_code == 200
    assert admin.get(path).status_code == 404
    assert admin.get("os-aggregates/nothing").status_code == 404
    assert admin.post(f"{path}/action", {"add_host": {}, "remove_host": {}}).status_code == 400


def test_flavors_are_made_and_removed_by_administrators(admin: Client, member: Client) -> None:
    wanted = {"name": f"f{uuid.uuid4().hex}", "vcpus": 1, "ram": 64, "disk": 1, "swap": "0"}
    assert member.post("flavors", {"flavor": wanted}).status_code == 403
    answer = admin.post("flavors", {"flavor": wanted})
    assert answer.status_code == 200
    made = answer.json["flavor"]
    assert (made["ram"], made["swap"], made["extra_specs"]) == (64, 0, {})
    assert admin.post("flavors", {"flavor": wanted}).status_code == 409
    path = f"flavors/{made['id']}"
    assert member.get(path, version="compute 2.1").json["flavor"]["swap"] == ""
    assert "description" not in member.get(path, version="compute 2.54").json["flavor"]
    specs = admin.post(f"{path}/os-extra_specs", {"extra_specs": {"hw:x": "1"}})
    assert specs.json == {"extra_specs": {"hw:x": "1"}}
    assert admin.get(f"{path}/os-extra_specs/hw:x").json == {"hw:x": "1"}
    assert admin.delete(f"{path}/os-extra_specs/hw:x").status_code == 200
    assert admin.get(f"{path}/os-extra_specs").json == {"extra_specs": {}}
    assert admin.put(path, {"flavor": {"description": "d"}}).json["flavor"]["description"] == "d"
    assert admin.delete(path).status_code == 202
    assert member.get(path).status_code == 404


def test_flavors_are_listed_and_asked_for_by_name(member: Client) -> None:
    rows = member.get("flavors/detail?is_public=None").json["flavors"]
    assert rows
    assert member.get("flavors/m1.nothing").status_code == 404
    page = member.get("flavors?limit=1").json
    assert len(page["flavors"]) == 1
    assert page["flavors_links"][0]["rel"] == "next"
    for wrong in ({"name": "x"}, {"name": "x", "vcpus": 0, "ram": 1, "disk": 1},
                  {"name": "x", "vcpus": 10**30, "ram": 1, "disk": 1}):  # fmt: skip
        assert member.post("flavors", {"flavor": wrong}).status_code == 400


def test_flavors_are_sorted_upwards_unless_told_otherwise(admin: Client) -> None:
    for query, backwards in (("", False), ("&sort_dir=asc", False), ("&sort_dir=desc", True)):
        rows = admin.get(f"flavors/detail?sort_key=memory_mb{query}").json["flavors"]
        sizes = [row["ram"] for row in rows]
        assert sizes == sorted(sizes, reverse=backwards)
        assert len(set(sizes)) > 1
    answer = admin.get("flavors?is_public=bogus")
    assert answer.status_code == 400
    assert "is_public must be True, False or None" in answer.text


def test_images_are_listed_and_shown(member: Client, image: str) -> None:
    rows = member.get("/image/v2/images").json["images"]
    assert image in [row["id"] for row in rows]
    found = member.get(f"/image/v2/images/{image}").json
    assert (found["name"], found["status"]) == ("paddock-guest", "active")
    assert member.get(f"/image/v2/images?id=in:{image}").json["images"][0]["id"] == image
    assert member.get("/image/v2/images/paddock-guest").status_code == 404
    assert member.get("/image/v2/images?limit=-1").status_code == 400
    assert member.get("/image/v2/images?name=nothing").json["images"] == []
    assert member.post("/image/v2/images", {}).status_code == 405


def test_the_description_holds_the_schemas_that_validate(cloud: Cloud) -> None:
    document = cloud.stranger().get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    create = document["paths"]["/compute/v2.1/servers"]["post"]
    schema = create["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["server"]["properties"]["name"]["maxLength"] == 255
    named = [each["operationId"] for item in document["paths"].values()
             for method, each in item.items() if method != "parameters"]  # fmt: skip
    assert len(named) == len(set(named))


def test_the_description_tells_headers_and_every_answer(cloud: Cloud) -> None:
    described = cloud.stranger().get("/openapi.json").json["paths"]
    version, key = "OpenStack-API-Version", "Idempotency-Key"

    def names(holder: dict[str, list[dict[str, str]]]) -> list[str]:
        return [each["name"] for each in holder.get("parameters", []) if each["in"] == "header"]

    for path, item in described.items():
        assert names(item) == ([version] if path.startswith("/compute/v2.1/") else []), path
    one = described["/compute/v2.1/servers/{server_id}"]
    action = described["/compute/v2.1/servers/{server_id}/action"]["post"]
    for each in (described["/compute/v2.1/servers"]["post"], one["delete"], action):
        assert names(each) == [key]
    assert names(described["/compute/v2.1/flavors"]["post"]) == []
    shown = action["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(shown["properties"]) == ["output"]
    assert "202" in action["responses"]


def test_a_key_that_would_not_be_honoured_is_refused(admin: Client) -> None:
    headers = {"Idempotency-Key": "once"}
    flavor = {"name": "keyed", "vcpus": 1, "ram": 64, "disk": 1}
    for answer in (
        admin.post("flavors", {"flavor": flavor}, headers=headers),
        admin.post("os-aggregates", {"aggregate": {"name": "keyed"}}, headers=headers),
        admin.delete("flavors/keyed", headers=headers),
    ):
        assert answer.status_code == 400
        assert "Idempotency-Key must be left out" in answer.json["badRequest"]["message"]
    assert "keyed" not in admin.get("flavors").text
    assert admin.get("os-aggregates").json["aggregates"] == []
    assert admin.get("flavors", headers=headers).status_code == 200


def test_without_a_conductor_the_answer_is_unavailable(cloud: Cloud) -> None:
    lonely = {
        "DEFAULT": {"transport_url": f"paddock://{uuid.uuid4().hex}/", "call_timeout": 0.3},
        "identity": {"key_file": str(cloud.place.token_key)},
        "api": {"port": 0},
    }
    api = build(load(overrides=lonely))
    api.start()
    try:
        client = Client(api.app, cloud.sign_in("paddock-demo").token)
        asks: list[Callable[[], Result]] = [
            lambda: client.get("servers"),
            lambda: client.act("11111111-2222-3333-4444-555555555555", "pause"),
            lambda: client.get("/readyz"),
            lambda: client.get("/image/v2/images"),
        ]
        for ask in asks:
            assert ask().status_code == 503
        assert asks[0]().json["serviceUnavailable"]["message"].endswith(".")
        assert client.get("/healthz").status_code == 200
    finally:
        api.stop(5.0)
