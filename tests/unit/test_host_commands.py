"""paddock-manage host: what it writes, gives the broker and tells the ledger, and what it refuses.

The broker's command is a stand-in here; tests/integration/test_stolen_host.py has the real one.
"""

from __future__ import annotations

import json
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from conductor.broker_users import agent_rights, conductor_rights
from conductor.db.models import Host
from conductor.db.session import Database
from tests.fixtures.ledger import START
from tests.unit.test_manage import Site, bare, site

__all__ = ["bare", "site"]

CONTROL = """\
import json, pathlib, sys
known = pathlib.Path(sys.argv[1])
users = json.loads(known.read_text()) if known.exists() else {}
verb, *rest = sys.argv[2:]
log = known.with_name("control.log")
log.write_text((log.read_text() if log.exists() else "") + " ".join(sys.argv[2:4]) + "\\n")
if verb == "list_users":
    print(json.dumps([{"user": name} for name in users]))
elif verb == "list_user_permissions":
    print(json.dumps([users[rest[0]]]))
elif verb == "import_definitions":
    told = json.load(sys.stdin)
    for one in told["permissions"]:
        users[one.pop("user")] = one
elif verb == "delete_user":
    del users[rest[0]]
known.write_text(json.dumps(users))
"""


class Cloud:
    """A site whose broker is a file of users."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.root = site.root
        self.users = site.root / "users.json"
        script = site.file("control.py", CONTROL)
        self.configure(f"{sys.executable} {script} {self.users}")

    def configure(self, control: str) -> None:
        text = self.site.configuration.read_text().partition("[conductor]")[0]
        url = "transport_url = rabbit://c1:secret@b1:5672,c1:secret@b2:5672/"
        if url not in text:
            text = f"[DEFAULT]\n{url}\n{text}"
        self.site.configuration.write_text(f"{text}[conductor]\nbroker_control = {control}\n")

    def known(self) -> dict[str, Any]:
        return json.loads(self.users.read_text()) if self.users.exists() else {}

    def asked(self) -> list[str]:
        log = self.root / "control.log"
        return log.read_text().splitlines() if log.exists() else []

    def host(self, name: str, **values: Any) -> None:
        """A compute host that the ledger knows."""
        row = Host(
            name=name, id=name, machine_id="m", zone="az1", state="up", epoch="e",
            last_heartbeat=START, created_at=START, facts={}, vcpus=1, memory_mb=1, disk_gb=1,
            **values,
        )  # fmt: skip
        database = Database(self.site.url)
        database.transaction(lambda session: session.add(row))
        database.dispose()

    def row(self, name: str) -> Host:
        (row,) = self.site.rows(sa.select(Host).where(Host.name == name))
        return row

    def transport_url(self, file: str) -> str:
        parser = ConfigParser()
        parser.read_string((self.root / file).read_text())
        return parser["DEFAULT"]["transport_url"]


@pytest.fixture
def cloud(site: Site) -> Cloud:
    return Cloud(site)


def test_a_host_gets_a_user_with_its_rights_and_a_private_configuration(cloud: Cloud) -> None:
    output = cloud.root / "h1.dc.conf"
    said = cloud.site.do("host", "add", "h1.dc", "--output", str(output))
    assert str(output) in said
    rights = agent_rights("h1.dc")
    assert rights.topic_read == r"^compute\.h1\.dc(\.h1\.dc)?$"
    assert cloud.known() == {
        "h1.dc": {"vhost": "/", "configure": rights.configure, "write": rights.write,
                "read": rights.read}
    }  # fmt: skip
    assert output.stat().st_mode & 0o777 == 0o600
    url = cloud.transport_url("h1.dc.conf")
    password = url.split("@")[0].rpartition(":")[2]
    assert url == f"rabbit://h1.dc:{password}@b1:5672,h1.dc:{password}@b2:5672/"
    assert len(password) >= 32
    assert password not in said + cloud.users.read_text() + "".join(cloud.asked())
    assert "secret" not in output.read_text()


def test_a_second_time_renews_the_password_and_ends_the_connections(cloud: Cloud) -> None:
    urls = []
    for number, what in enumerate(("a broker user", "a new password")):
        said = cloud.site.do("host", "add", "h1", "--output", str(cloud.root / f"{number}.conf"))
        assert f"Host h1 has {what}" in said
        urls.append(cloud.transport_url(f"{number}.conf"))
    assert urls[0] != urls[1]
    assert cloud.asked()[-1] == "close_all_user_connections h1"


def test_a_configuration_that_is_there_is_not_overwritten(cloud: Cloud) -> None:
    path = cloud.site.file("h1.conf", "mine")
    assert "File exists" in cloud.site.refused("host", "add", "h1", "--output", path)
    assert Path(path).read_text() == "mine"
    assert cloud.asked() == []


@pytest.mark.parametrize(
    "name", ["api", "api-2", "conductor-c1", "", "h 1", "h1\n", "-h1", "h_1", "h/1", "x" * 300]
)
@pytest.mark.parametrize("command", ["add", "revoke"])
def test_a_name_that_no_agent_can_have_is_refused(cloud: Cloud, name: str, command: str) -> None:
    more = ["--output", str(cloud.root / "out.conf")] if command == "add" else []
    cloud.site.refused("host", command, *more, "--", name)
    assert cloud.asked() == []
    assert not (cloud.root / "out.conf").exists()


def test_the_user_of_another_program_is_neither_changed_nor_deleted(cloud: Cloud) -> None:
    rights = conductor_rights("c1")
    user = {"vhost": "/", "configure": rights.configure, "write": rights.write, "read": rights.read}
    cloud.users.write_text(json.dumps({"c1": user}))
    output = cloud.root / "c1.conf"
    assert "not an agent's" in cloud.site.refused("host", "add", "c1", "--output", str(output))
    assert not output.exists()
    assert "no host 'c1'" in cloud.site.refused("host", "revoke", "c1")
    assert cloud.known() == {"c1": user}


def test_definitions_are_printed_for_a_broker_elsewhere(cloud: Cloud) -> None:
    cloud.configure("/nowhere/rabbitmqctl")
    output = ["--output", str(cloud.root / "h1.conf")]
    address = ["--broker-address", "broker.example:5671"]
    status, out, err = cloud.site.run("host", "add", "h1", *output, *address, "--definitions")
    assert status == 0
    assert "Host h1 has a broker user" in err
    (user,) = json.loads(out)["users"]
    assert (user["name"], user["tags"]) == ("h1", [])
    url = cloud.transport_url("h1.conf")
    assert url.endswith("@broker.example:5671/")
    assert url.split("@")[0].rpartition(":")[2] not in out


@pytest.mark.parametrize("address", ["broker", "a b:1", "h1:pw@broker:5672", "broker:5672/x"])
def test_an_address_that_is_none_is_refused(cloud: Cloud, address: str) -> None:
    output = ["--output", str(cloud.root / "h1.conf")]
    said = cloud.site.refused("host", "add", "h1", *output, "--broker-address", address)
    assert "HOST:PORT" in said


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("/nowhere/rabbitmqctl", "Cannot run /nowhere/rabbitmqctl: No such file"),
        ("false", "false list_users failed"),
        ("true", "gave no JSON"),
    ],
)
def test_a_command_that_does_not_work_is_named_and_nothing_is_left(
    cloud: Cloud, control: str, said: str
) -> None:
    cloud.configure(control)
    cloud.host("h1", revoked=True)
    output = cloud.root / "h1.conf"
    assert said in cloud.site.refused("host", "add", "h1", "--output", str(output))
    assert not output.exists()
    assert cloud.row("h1").revoked


def test_a_revoked_host_is_down_and_shown_so_until_it_is_added_again(cloud: Cloud) -> None:
    cloud.host("h1")
    cloud.site.do("host", "add", "h1", "--output", str(cloud.root / "1.conf"))
    said = cloud.site.do("host", "revoke", "h1")
    assert "is deleted" in said
    assert "forced_down" in said
    row = cloud.row("h1")
    assert (row.revoked, row.state, row.reconcile, row.forced_down) == (True, "down", True, False)
    assert cloud.known() == {}
    assert cloud.asked()[-2:] == ["delete_user h1", "close_all_user_connections h1"]
    assert "revoked" in cloud.site.do("service", "list")
    assert "has no agent's user" in cloud.site.do("host", "revoke", "h1")
    again = cloud.site.do("host", "add", "h1", "--output", str(cloud.root / "2.conf"))
    assert "no longer revoked" in again
    row = cloud.row("h1")
    assert (row.revoked, row.state, row.reconcile) == (False, "down", True)
    assert "revoked" not in cloud.site.do("service", "list")


def test_the_user_of_a_host_that_nobody_knows_is_deleted_all_the_same(cloud: Cloud) -> None:
    cloud.site.do("host", "add", "h9", "--output", str(cloud.root / "9.conf"))
    assert "no host 'h9'; its broker user is deleted" in cloud.site.refused("host", "revoke", "h9")
    assert cloud.known() == {}


def test_the_ledger_refuses_a_host_also_when_the_broker_does_not_answer(cloud: Cloud) -> None:
    cloud.host("h1")
    cloud.configure("false")
    for name, done in (("h1", "Host h1 is revoked"), ("h9", "There is no host 'h9'")):
        said = cloud.site.refused("host", "revoke", name)
        assert f"{done}, but the broker may still have its user" in said
        assert f"rabbitmqctl delete_user {name}" in said
        assert "false list_users failed" in said
    assert cloud.row("h1").revoked
