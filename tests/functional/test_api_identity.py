"""Signing in, as the identity API has it."""

from __future__ import annotations

from typing import Any

import pytest

from conductor import manage
from paddock.token_keys import read_keys, write_keys
from tests.fixtures.cloud import Client, Cloud, credentials

TOKENS = "/identity/v3/auth/tokens"


def test_a_password_buys_a_token_for_a_project(cloud: Cloud) -> None:
    answer = cloud.stranger().post(TOKENS, credentials(cloud.passwords["paddock-demo"]))
    assert answer.status_code == 201
    token = answer.json["token"]
    assert token["user"]["name"] == "demo"
    assert token["project"]["name"] == "demo"
    assert "member" in [role["name"] for role in token["roles"]]
    assert token["issued_at"] < token["expires_at"]
    Client(cloud.parts.api.app, answer.headers["X-Subject-Token"]).get("servers")


def test_the_catalog_names_what_is_there_and_nothing_else(cloud: Cloud) -> None:
    answer = cloud.stranger().post(TOKENS, credentials(cloud.passwords["paddock-demo"]))
    catalog = {service["type"]: service["endpoints"] for service in answer.json["token"]["catalog"]}
    assert set(catalog) == {"identity", "compute", "image"}
    for kind, path in (("identity", "/identity"), ("compute", "/compute/v2.1"),
                       ("image", "/image")):  # fmt: skip
        assert {row["interface"] for row in catalog[kind]} == {"public", "internal", "admin"}
        assert all(row["url"].endswith(path) for row in catalog[kind])
        assert all(row["region"] == row["region_id"] for row in catalog[kind])


def test_a_token_buys_a_token_that_ends_no_later(cloud: Cloud, member: Client) -> None:
    body = {"auth": {"identity": {"methods": ["token"], "token": {"id": member.token}}}}
    answer = cloud.stranger().post(TOKENS, body)
    assert answer.status_code == 201
    shown = member.get(TOKENS, headers={"X-Subject-Token": str(member.token)})
    assert answer.json["token"]["expires_at"] == shown.json["token"]["expires_at"]
    assert answer.json["token"]["methods"] == ["password", "token"]


def test_a_token_can_be_checked(member: Client, admin: Client, other: Client) -> None:
    subject = {"X-Subject-Token": str(member.token)}
    for client in (member, admin):
        answer = client.get(TOKENS, headers=subject)
        assert answer.status_code == 200
        assert answer.json["token"]["user"]["name"] == "demo"
        assert client.call("HEAD", TOKENS, headers=subject).status_code == 200
    assert other.get(TOKENS, headers=subject).status_code == 404
    assert admin.get(TOKENS, headers={"X-Subject-Token": "nonsense"}).status_code == 404
    assert admin.get(TOKENS).status_code == 400


def test_a_single_token_cannot_be_ended(member: Client) -> None:
    answer = member.delete(TOKENS, headers={"X-Subject-Token": str(member.token)})
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert member.get("servers").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "wrong"}, {"password": ""}, {"name": "nobody"}, {"name": "demo\ttab"},
        {"domain": {"name": "Elsewhere"}}, {"password": "p" * 4096},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_in_a_sign_in_is_not_told(cloud: Cloud, wrong: dict[str, Any]) -> None:
    answer = cloud.stranger().post(TOKENS, credentials(cloud.passwords["paddock-demo"], **wrong))
    assert answer.status_code == 401
    assert set(answer.json["error"]) == {"code", "message", "title"}
    assert "authentication" in answer.json["error"]["message"]


def test_a_project_without_a_role_is_not_entered(cloud: Cloud) -> None:
    body = credentials(cloud.passwords["paddock-demo"] | {"project_name": "other"})
    assert cloud.stranger().post(TOKENS, body).status_code == 401


def scopes() -> list[Any]:
    return [
        {}, "unscoped", {"system": {"all": True}}, {"domain": {"id": "default"}},
        {"project": {}}, {"project": {"name": "demo"}}, None, 7,
    ]  # fmt: skip


@pytest.mark.parametrize("scope", scopes(), ids=str)
def test_a_sign_in_without_a_project_is_a_clear_bad_request(cloud: Cloud, scope: Any) -> None:
    body = credentials(cloud.passwords["paddock-demo"])
    body["auth"]["scope"] = scope
    answer = cloud.stranger().post(TOKENS, body)
    assert answer.status_code == 400
    assert "project" in answer.json["error"]["message"]


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "é", "x" * 20_000], ids=range(6))
def test_without_a_good_token_nothing_is_told(cloud: Cloud, token: str | None) -> None:
    answer = Client(cloud.parts.api.app, token).get("servers")
    assert answer.status_code == 401
    assert "Keystone" in answer.headers["WWW-Authenticate"]
    assert answer.json["unauthorized"]["code"] == 401


def test_there_is_no_way_to_end_a_single_token(member: Client) -> None:
    answer = member.delete(TOKENS, headers={"X-Subject-Token": str(member.token)})
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_the_projects_of_a_token_are_listed(member: Client) -> None:
    (project,) = member.get("/identity/v3/auth/projects").json["projects"]
    assert project["name"] == "demo"
    catalog = member.get("/identity/v3/auth/catalog").json["catalog"]
    assert {service["type"] for service in catalog} == {"identity", "compute", "image"}


def test_keys_change_under_a_running_api_and_a_token_ends_with_its_own(
    cloud: Cloud, member: Client
) -> None:
    path = cloud.place.token_key
    settings = cloud.place.directory / "keys.conf"
    settings.write_text(f"[identity]\nkey_file = {path}\n")
    before = read_keys(path)

    def change(step: str) -> None:
        assert manage.main(["--config-file", str(settings), "key", step]) == 0

    change("add")
    assert member.get("servers").status_code == 200
    change("use")
    newer = cloud.sign_in("paddock-demo")
    assert [client.get("servers").status_code for client in (member, newer)] == [200, 200]
    change("drop")
    assert [client.get("servers").status_code for client in (member, newer)] == [401, 200]
    write_keys(path, before)
    assert [client.get("servers").status_code for client in (member, newer)] == [200, 401]


def test_a_new_password_and_being_disabled_end_all_of_a_users_tokens(cloud: Cloud) -> None:
    secret = cloud.place.directory / "password"
    secret.touch(0o600)

    def run(*arguments: str) -> None:
        settings = str(cloud.place.settings("manage"))
        assert manage.main(["--config-file", settings, "user", *arguments]) == 0

    def sign_in() -> Client | None:
        auth = {"username": "eve", "password": secret.read_text(), "project_name": "demo"}
        answer = cloud.stranger().post(TOKENS, credentials(auth))
        token = answer.headers.get("X-Subject-Token")
        return Client(cloud.parts.api.app, token) if token else None

    secret.write_text("the first password")
    run("add", "eve", "--project", "demo", "--role", "member", "--password-file", str(secret))
    first = sign_in()
    assert first
    secret.write_text("the second password")
    run("password", "eve", "--password-file", str(secret))
    second = sign_in()
    assert second
    assert [client.get("servers").status_code for client in (first, second)] == [401, 200]
    run("disable", "eve")
    assert second.get("servers").status_code == 401
    assert sign_in() is None
    run("enable", "eve")
    assert second.get("servers").status_code == 401
    third = sign_in()
    assert third
    assert third.get("servers").status_code == 200
