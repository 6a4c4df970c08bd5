"""Version documents, mounts, microversion headers and request ids."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fixtures.cloud import Client, Cloud

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.mark.parametrize(
    ("path", "status", "identifier"),
    [
        ("/", 200, "v2.0"), ("/compute", 200, "v2.0"), ("/identity", 300, "v3.14"),
        ("/image", 300, "v2.9"), ("/image/versions", 200, "v2.9"), ("/image/v2", 200, "v2.9"),
        ("/identity/v3", 200, "v3.14"), ("/compute/v2.1", 200, "v2.1"),
        ("/compute/v2", 200, "v2.0"), ("/v2.1", 200, "v2.1"), ("/v2", 200, "v2.0"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("slash", ["", "/"])
def test_version_documents_need_no_token(
    cloud: Cloud, path: str, status: int, identifier: str, slash: str
) -> None:
    answer = cloud.stranger().get(path.rstrip("/") + slash or "/", version=None)
    assert answer.status_code == status
    assert first(answer.json)["id"] == identifier


def first(document: dict[str, Any]) -> dict[str, Any]:
    (value,) = document.values()
    if isinstance(value, dict) and "values" in value:
        value = value["values"]
    found: dict[str, Any] = value[0] if isinstance(value, list) else value
    return found


@pytest.mark.parametrize(
    "path", ["/compute", "/compute/v2.1", "/v2.1", "/v2", "/identity", "/image"]
)
def test_a_self_link_answers_with_the_same_link(cloud: Cloud, path: str) -> None:
    document = cloud.stranger().get(path).json
    versions = document.get("versions", [document.get("version")])
    for version in versions["values"] if isinstance(versions, dict) else versions:
        [href] = [link["href"] for link in version["links"] if link["rel"] == "self"]
        again = cloud.stranger().get(urlsplit(href).path)
        assert href in [link["href"] for link in first(again.json)["links"]]


def test_compute_is_there_under_every_mount(member: Client, server: str) -> None:
    project = member.show(server)["tenant_id"]
    for base in ("/compute/v2.1", "/v2.1", f"/v2/{project}", f"/compute/v2/{project}",
                 f"/v2.1/{project}"):  # fmt: skip
        for slash in ("", "/"):
            answer = member.get(f"{base}/servers/{server}{slash}")
            assert answer.status_code == 200
            links = {link["rel"]: link["href"] for link in answer.json["server"]["links"]}
            assert links["self"].endswith(f"{base}/servers/{server}")
        again = member.get(urlsplit(links["self"]).path)
        assert again.json["server"]["links"] == answer.json["server"]["links"]


def test_another_tenants_path_is_a_bad_request(member: Client, server: str) -> None:
    for tenant in ("11111111-2222-3333-4444-555555555555", "demo"):
        answer = member.get(f"/v2/{tenant}/servers/{server}")
        assert answer.status_code == 400
        assert tenant in answer.json["badRequest"]["message"]


@pytest.mark.parametrize("version", ["2.1", "2.37", "2.96", "latest"])
def test_the_microversion_is_echoed_on_every_answer(member: Client, version: str) -> None:
    shown = "2.96" if version == "latest" else version
    for path in ("servers", "servers/nothing", "os-services", "flavors/detail"):
        for headers in ({"OpenStack-API-Version": f"compute {version}"},
                        {"X-OpenStack-Nova-API-Version": version}):  # fmt: skip
            answer = member.get(path, version=None, headers=headers)
            assert answer.headers["OpenStack-API-Version"] == f"compute {shown}"
            assert answer.headers["X-OpenStack-Nova-API-Version"] == shown
            assert "OpenStack-API-Version" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("version", "status"),
    [("compute 2.97", 406), ("compute 2.0", 406), ("compute 3.1", 406), ("compute two", 400),
     ("compute", 400), ("compute 2.1, compute 2.9", 400)],
)  # fmt: skip
def test_other_versions_are_refused(member: Client, version: str, status: int) -> None:
    answer = member.get("servers", version=version)
    assert answer.status_code == status
    (fault,) = answer.json.values()
    assert fault["code"] == status


def test_every_answer_has_an_id_of_its_own(cloud: Cloud, member: Client) -> None:
    found = set()
    sent = {"X-Openstack-Request-Id": "req-11111111-2222-3333-4444-555555555555"}
    for path in ("servers", "/nowhere", "/compute", "servers/x", "/identity/v3", "/healthz"):
        answer = member.get(path, headers=sent)
        assert REQUEST_ID.fullmatch(answer.headers["X-Openstack-Request-Id"])
        found.add(answer.headers["X-Openstack-Request-Id"])
    assert len(found) == 6
    assert sent["X-Openstack-Request-Id"] not in found
    answer = member.get("servers")
    assert answer.headers["X-Compute-Request-Id"] == answer.headers["X-Openstack-Request-Id"]


def test_unknown_paths_are_not_found(member: Client) -> None:
    for path in ("/nowhere", "/compute/v2.1/nowhere", "/compute/v2.1/a/b", "/compute/v3/servers",
                 "//", "/compute//v2.1", "/compute/v2.1/servers/x/y/z", "/identity/v2.0/tokens",
                 "/compute/v2.1/servers/\x01", "/compute/v2.1/servers/%00"):  # fmt: skip
        assert member.get(path).status_code in (404, 200 if path == "//" else 404)


def test_a_known_path_says_which_methods_it_has(member: Client) -> None:
    for method, path in (("PUT", "servers"), ("DELETE", "servers/detail"), ("POST", "flavors/1"),
                         ("PATCH", "servers/x"), ("PUT", "services")):  # fmt: skip
        answer = member.call(method, path)
        assert answer.status_code == 405
        assert "GET" in answer.headers["Allow"]


def test_it_lives_and_is_ready(cloud: Cloud) -> None:
    assert cloud.stranger().get("/healthz").json["status"] == "ok"
    assert cloud.stranger().get("/readyz").json["status"] == "ok"
