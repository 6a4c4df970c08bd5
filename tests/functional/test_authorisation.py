"""Who may do what: every route and action, asked by every kind of caller (authorisation.yaml)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from falcon import inspect
from falcon.testing import Result

from api.app import Collaborators, build_routes
from api.key_file import KeyFile
from api.operations import Operation
from api.tokens import Tokens
from conductor import manage
from paddock.records import Identity
from tests.fixtures.cloud import LATEST, Client, Cloud, credentials, wait_for

CALLERS = ("none", "broken", "expired", "disabled", "reader", "member", "other", "admin")
TABLE: dict[str, str] = yaml.safe_load(Path(__file__).with_name("authorisation.yaml").read_text())
POOL = 42
"""Servers of the demo project that are changed, one by each caller who may."""
BEFORE = {"vm-poweron": "vm-poweroff", "os-start": "os-stop", "unpause": "pause",
          "migrate": "vm-poweroff", "resume": "suspend"}  # fmt: skip
STATES = {"vm-poweroff": "powered_off", "os-stop": "stopped", "pause": "paused",
          "suspend": "suspended"}  # fmt: skip
OLDER = ("/os-services/enable", "/os-services/disable", "/os-services/disable-log-reason",
         "/os-services/force-down", "/statistics", "/uptime", "/os-hosts/{host}")  # fmt: skip
"""What only older microversions have."""
HOST = {"host": "h3", "binary": "nova-compute"}
FLAVOR = {"name": "new", "vcpus": 1, "ram": 64, "disk": 1}
BODIES: dict[str, Any] = {
    "server-update": {"server": {"name": "renamed"}},
    "server-metadata-add": {"metadata": {"more": "1"}},
    "server-metadata": {"metadata": {"all": "1"}},
    "server-metadata-item": {"meta": {"key": "1"}},
    "flavor-update": {"flavor": {"description": "small"}},
    "flavor-extra-specs": {"extra_specs": {"key": "1"}},
    "os-service-enable": HOST,
    "os-service-disable": HOST,
    "os-service-disable-log-reason": HOST | {"disabled_reason": "test"},
    "os-service-force-down": HOST | {"forced_down": False},
    "os-service-update": {"status": "enabled"},
    "os-host-update": {"maintenance_mode": "disable"},
    "aggregate-update": {"aggregate": {"name": "changed"}},
    "reboot": {"reboot": {"type": "HARD"}},
    "os-migrateLive": {"os-migrateLive": {"host": None, "block_migration": "auto"}},
    "os-resetState": {"os-resetState": {"state": "active"}},
    "os-getConsoleOutput": {"os-getConsoleOutput": {}},
    "PAUSE": {"PAUSE": {}},
    "RESUME": {"RESUME": {}},
    "START": {"START": {}},
    "STOP": {"STOP": {}},
    "add_host": {"add_host": {"host": "h3"}},
    "remove_host": {"remove_host": {"host": "h3"}},
    "set_metadata": {"set_metadata": {"metadata": {"key": "1"}}},
}


def served() -> dict[str, Operation | None]:
    """What the application serves: method, path and, where the body names one, the action."""
    nothing = cast(Any, None)
    routes = build_routes(Collaborators(*[nothing] * 5, secret=bytes))
    found: dict[str, Operation | None] = {}
    for path, resource in routes.items():
        for name in (name for name in dir(resource) if name.startswith("on_")):
            operation = getattr(getattr(resource, name), "operation", None)
            place = f"{name[3:].upper()} {path}"
            verbs = [f"{place} {verb}" for verb in operation.verbs] if operation else []
            found |= dict.fromkeys(verbs or [place], operation)
    return found


SERVED = served()


def expected(row: str) -> dict[str, int]:
    return dict(zip(CALLERS, map(int, TABLE[row].split()), strict=True))


class Site:
    """The cloud with a thing of each kind, and somebody of each kind."""

    def __init__(self, cloud: Cloud, directory: Path, image: str) -> None:
        self.cloud = cloud
        self.image = image
        self.admin = cloud.sign_in("paddock-admin")
        self.member = cloud.sign_in("paddock-demo")
        self.clients = self._sign_in(directory)
        self.count = 0
        self.drain = ""
        flavors = self.admin.get("flavors/detail").json["flavors"]
        self.flavor: str = min(flavors, key=lambda row: row["ram"])["id"]
        self.service: str = self.admin.get("services/h3").json["service"]["id"]
        self.pool = self._create(POOL)
        self.shared = self.pool.pop()
        self.before = self.member.show(self.shared)

    def _sign_in(self, directory: Path) -> dict[str, Client]:
        app, keys = self.cloud.parts.api.app, KeyFile(self.cloud.place.token_key).keys
        claims = Tokens(keys, 60).read(str(self.admin.token))
        who = Identity(
            user_id=claims.sub, user_name=claims.user_name, user_epoch=claims.user_epoch,
            project_id=claims.project_id, project_name=claims.project_name, roles=claims.roles,
        )  # fmt: skip
        expired, _ = Tokens(keys, 60, lambda: time.time() - 61).issue(who, ["password"])
        broken = str(self.admin.token)[:-4] + "AAAA"
        return {
            "none": Client(app, None),
            "broken": Client(app, broken),
            "expired": Client(app, expired),
            "disabled": self._disabled(directory),
            "reader": self.cloud.sign_in("paddock-reader"),
            "member": self.member,
            "other": self.cloud.sign_in("paddock-other"),
            "admin": self.admin,
        }

    def _disabled(self, directory: Path) -> Client:
        """An administrator in the demo project who was disabled after signing in."""
        secret = directory / "secret"
        secret.touch(0o600)
        secret.write_text("a long password\n")
        self._manage("user", "add", "gone", "--project", "demo", "--role", "admin",
                     "--password-file", str(secret))  # fmt: skip
        user = {"username": "gone", "password": "a long password", "project_name": "demo"}
        app = self.cloud.parts.api.app
        answer = Client(app, None).post("/identity/v3/auth/tokens", credentials(user))
        client = Client(app, answer.headers["X-Subject-Token"])
        assert client.get("servers").status_code == 200
        self._manage("user", "disable", "gone")
        return client

    def _manage(self, *arguments: str) -> None:
        settings = str(self.cloud.place.settings("manage"))
        assert manage.main(["--config-file", settings, *arguments]) == 0

    def _create(self, count: int) -> list[str]:
        wanted = {"name": "machine", "imageRef": self.image, "flavorRef": self.flavor,
                  "availability_zone": "az1", "metadata": {"key": "value"},
                  "min_count": count, "return_reservation_id": True}  # fmt: skip
        answer = self.member.post("servers", {"server": wanted})
        assert answer.status_code == 202, answer.text
        ids = [row["id"] for row in self.member.get("servers").json["servers"]]
        for server_id in ids:
            self.member.await_state(server_id, "active")
        return ids

    def ask(self, row: str, caller: str, may: bool, **instead: str) -> Result:
        """One cell of the table: on a thing that nobody else needs, if the caller may change it."""
        method, path, verb = (*row.split(), "")[:3]
        self.count += 1
        values = self._values(path, verb, fresh=may and method != "GET") | instead
        headers = {"X-Subject-Token": str(self.member.token)}
        body = self._body(row, verb)
        where = path.format(**values)
        version = "compute 2.11" if path.endswith(OLDER) else LATEST
        return self.clients[caller].call(method, where, body, headers=headers, version=version)

    def _body(self, row: str, verb: str) -> Any:
        operation = SERVED[row]
        name = verb or (operation.name if operation else "")
        if name == "sign-in":
            return credentials(self.cloud.passwords["paddock-demo"])
        if name == "server-create":
            return {"server": {"name": "more", "imageRef": self.image, "flavorRef": self.flavor}}
        if name == "flavor-create":
            return {"flavor": FLAVOR | {"name": f"flavor-{self.count}"}}
        if name == "aggregate-create":
            return {"aggregate": {"name": f"aggregate-{self.count}"}}
        if name == "drain-create":
            return self._wanted_drain()
        return BODIES.get(name, {verb: None} if verb else None)

    def _values(self, path: str, verb: str, fresh: bool) -> dict[str, str]:
        values = {"key": "key", "image_id": self.image, "flavor_id": self.flavor,
                  "service_id": self.service, "hypervisor_id": self.service,
                  "checksum": "0" * 64, "host": "h3"}  # fmt: skip
        if "{server_id}" in path:
            values |= self._server_values(verb, fresh)
        if "{aggregate_id}" in path:
            values["aggregate_id"] = self._aggregate(verb == "remove_host")
        if "{flavor_id}" in path:
            values["flavor_id"] = self._flavor()
        if "{drain_id}" in path:
            values["drain_id"] = self._drain(fresh)
        if fresh and path.endswith("/drains"):
            self.end_drains()
        return values

    def _server_values(self, verb: str, fresh: bool) -> dict[str, str]:
        server_id = self.pool.pop() if fresh else self.shared
        if fresh and verb in BEFORE:
            first = BEFORE[verb]
            assert self.member.act(server_id, first).status_code == 202
            self.member.await_state(server_id, STATES[first])
        actions = self.member.get(f"servers/{server_id}/os-instance-actions").json
        return {
            "server_id": server_id,
            "request_id": actions["instanceActions"][-1]["request_id"],
            "network": next(iter(self.before["addresses"])),
        }

    def _aggregate(self, with_host: bool) -> str:
        self.drop_aggregates()
        made = self.admin.post("os-aggregates", {"aggregate": {"name": f"a-{self.count}"}})
        key = str(made.json["aggregate"]["id"])
        if with_host:
            add = {"add_host": {"host": "h3"}}
            assert self.admin.post(f"os-aggregates/{key}/action", add).status_code == 200
        return key

    def drop_aggregates(self) -> None:
        """A host is in no aggregate any more."""
        for row in self.admin.get("os-aggregates").json["aggregates"]:
            for host in row["hosts"]:
                remove = {"remove_host": {"host": host}}
                self.admin.post(f"os-aggregates/{row['id']}/action", remove)
            self.admin.delete(f"os-aggregates/{row['id']}")

    def _drain(self, fresh: bool) -> str:
        """One that has ended."""
        if fresh or not self.drain:
            self.end_drains()
            made = self.admin.post("drains", self._wanted_drain())
            assert made.status_code == 202, made.text
            self.drain = made.json["drain"]["id"]
            self._await_drain(self.drain, "completed")
        return self.drain

    def _wanted_drain(self) -> dict[str, Any]:
        """A drain for which nothing moves."""
        there = self.admin.get("servers?all_tenants=1&host=h3").json["servers"]
        return {"host": "h3", "exclude": [row["id"] for row in there]}

    def _await_drain(self, drain_id: str, *statuses: str) -> None:
        def ask() -> bool:
            return self.admin.get(f"drains/{drain_id}").json["drain"]["status"] in statuses

        wait_for(ask, f"drain {' or '.join(statuses)}")

    def end_drains(self) -> None:
        """No drain goes on any more, and the hosts are open."""
        for row in self.admin.get("drains").json["drains"]:
            self.admin.post(f"drains/{row['id']}/action", {"cancel": {"reopen": True}})
            self._await_drain(row["id"], "cancelled", "restored")

    def _flavor(self) -> str:
        made = self.admin.post("flavors", {"flavor": FLAVOR | {"name": f"f-{self.count}"}})
        key: str = made.json["flavor"]["id"]
        specs = {"extra_specs": {"key": "1"}}
        assert self.admin.post(f"flavors/{key}/os-extra_specs", specs).status_code == 200
        return key


@pytest.fixture(scope="module")
def site(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Site]:
    return Site(cloud, tmp_path_factory.mktemp("users"), image)


def test_every_route_and_action_has_an_entry() -> None:
    assert sorted(SERVED) == sorted(TABLE)


def test_nothing_is_served_beside_the_routes(cloud: Cloud) -> None:
    found = inspect.inspect_app(cloud.parts.api.app)
    assert {route.path for route in found.routes} == {row.split()[1] for row in SERVED}
    assert not found.sinks
    assert not found.static_routes


@pytest.mark.parametrize("row", TABLE)
def test_each_caller_gets_the_answer_that_the_table_says(site: Site, row: str) -> None:
    wanted = expected(row)
    answers = {caller: site.ask(row, caller, status < 300) for caller, status in wanted.items()}
    assert {caller: answer.status_code for caller, answer in answers.items()} == wanted
    if wanted["other"] < 300:
        assert site.shared not in answers["other"].text
    if wanted["other"] == 404 and "{server_id}" in row:
        unknown = str(uuid.uuid4())
        nowhere = site.ask(row, "other", may=False, server_id=unknown)
        assert nowhere.text == answers["other"].text.replace(site.shared, unknown)


def test_what_was_refused_changed_nothing(site: Site) -> None:
    assert site.member.show(site.shared) == site.before
    actions = site.member.get(f"servers/{site.shared}/os-instance-actions").json
    assert [row["action"] for row in actions["instanceActions"]] == ["create"]
