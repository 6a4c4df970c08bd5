"""Whatever anybody sends to any path, the answer is no 5xx and says what is wrong."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.cloud import Client, Cloud

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
VALUES = ["x", "1", "-1", "0" * 30, "é", "a b", "%00", "..", "'", '"', "x" * 2000, "nothing",
          "11111111-2222-3333-4444-555555555555", "{}", "\\", "%", "😀", "NULL"]  # fmt: skip
BODIES: list[Any] = [
    b"", b"{", b"[]", b"null", b"NaN", b'"x"', b"7", b"\xff", b"<a/>", b"[" * 9000, b'{"a":' * 900,
    b'{"\\u0000": "\\u0000"}', b'{"server": {"name": "\\ud83d"}}',
]  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module", autouse=True)
def settled(cloud: Cloud) -> None:
    cloud.settle()


def paths(cloud: Cloud) -> dict[str, Any]:
    found: dict[str, Any] = cloud.stranger().get("/openapi.json").json["paths"]
    return found


def fill(path: str, value: str) -> str:
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + quote(value, safe="") + rest.partition("}")[2]
    return path


def refused_well(client: Client, method: str, path: str, **more: Any) -> None:
    answer = client.call(method, path, **more)
    assert answer.status_code < 500, (method, path, more, answer.text)
    if answer.status_code >= 400 and method != "HEAD":
        (fault,) = answer.json.values()
        assert fault["message"]
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_any_value_in_any_path_is_answered(cloud: Cloud, admin: Client, value: str) -> None:
    for path in paths(cloud):
        if path == "/readyz" or "{" not in path:
            continue
        for method in METHODS:
            refused_well(admin, method, fill(path, value), json={})


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_any_bytes_to_any_path_are_answered(
    cloud: Cloud, admin: Client, server: str, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    for path in paths(cloud):
        for method in ("POST", "PUT"):
            refused_well(admin, method, fill(path, server), body=body, headers=headers)


@pytest.mark.parametrize(
    "query",
    ["limit=-1", "limit=1e3", "marker=%00", "marker='", "sort_key=&sort_dir=", "a" * 4000, "&&=&=",
     "name=%ff", "name[]=1", "limit=%F0%9F%98%80", "is_public=7", "id=in:", "changes-since=%2b"],
)  # fmt: skip
def test_any_query_to_any_path_is_answered(cloud: Cloud, admin: Client, query: str) -> None:
    for path in paths(cloud):
        refused_well(admin, "GET", f"{fill(path, 'x')}?{query}")


@pytest.mark.parametrize(
    "header",
    [{"X-Auth-Token": "a, b"}, {"OpenStack-API-Version": ","}, {"Accept": "nonsense"},
     {"Content-Type": ";;"}, {"Idempotency-Key": ""}, {"Idempotency-Key": "x" * 300},
     {"X-Openstack-Request-Id": "x\ty"}, {"Content-Encoding": "zip"}, {"Host": 'a"b'},
     {"X-OpenStack-Nova-API-Version": "2.1, 2.2"}, {"Accept": "text/xml;q=7"}],
    ids=str,
)  # fmt: skip
def test_any_header_is_answered(admin: Client, server: str, header: dict[str, str]) -> None:
    refused_well(admin, "GET", f"servers/{server}", headers=header)
    headers = {"Content-Type": "application/json"} | header
    refused_well(admin, "POST", f"servers/{server}/action", body=b"{}", headers=headers)


@settings(
    deadline=None, max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_any_document_is_answered(cloud: Cloud, admin: Client, data: st.DataObject) -> None:
    described = [
        (path, method, content["application/json"]["schema"])
        for path, item in paths(cloud).items()
        for method, each in item.items()
        if method != "parameters"
        if (content := each.get("requestBody", {}).get("content"))
    ]
    path, method, schema = data.draw(st.sampled_from(described))
    shapes = schema.get("oneOf", [schema])
    shape = data.draw(st.sampled_from(shapes))
    inner = {name: keys(below) for name, below in shape.get("properties", {}).items()}
    document = {
        name: data.draw(
            TREES | (st.dictionaries(st.sampled_from(below), TREES) if below else TREES)
        )
        for name, below in inner.items()
    }
    body = json.dumps(document).encode()
    headers = {"Content-Type": "application/json"}
    refused_well(admin, method.upper(), fill(path, "x"), body=body, headers=headers)


def keys(schema: dict[str, Any]) -> list[str]:
    return sorted(schema.get("properties", {}))


@pytest.mark.parametrize(
    "path", ["os-hypervisors?limit=x", "servers/{server}/os-instance-actions?limit=x&marker=x"]
)
def test_what_a_version_does_not_know_in_a_query_has_no_effect(
    admin: Client, server: str, path: str
) -> None:
    path = path.format(server=server)
    assert admin.get(path, version="compute 2.1").status_code == 200
    assert admin.get(path).status_code == 400


def test_a_time_at_the_end_of_the_calendar_is_refused(member: Client) -> None:
    answer = member.get("servers?changes-since=0001-01-01T00:00:00%2B10:00")
    assert answer.status_code == 400
    assert "changes-since must be a time" in answer.text


def test_a_digit_that_is_no_number_is_no_services_id(admin: Client) -> None:
    assert admin.delete("os-services/²").status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [("disk", "-5"), ("swap", "-1"), ("ram", "0"), ("vcpus", "9999999999")],
)
def test_a_flavors_figures_have_their_bounds_as_strings_too(
    admin: Client, field: str, value: str
) -> None:
    wanted = {"name": "bounds", "vcpus": 1, "ram": 1, "disk": 1} | {field: value}
    answer = admin.post("flavors", {"flavor": wanted})
    assert answer.status_code == 400
    assert f"flavor.{field} must be a whole number from" in answer.text


def test_an_empty_page_of_hypervisors_has_no_next_one(admin: Client) -> None:
    assert admin.get("os-hypervisors?limit=0").json == {"hypervisors": []}
