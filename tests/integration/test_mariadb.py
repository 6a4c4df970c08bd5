"""A whole cloud on MariaDB: the same processes, the fake driver, the bus inside this process."""

from __future__ import annotations

import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from falcon.testing import Result

from devstack.database import Server
from devstack.place import program
from tests.fixtures.cloud import (
    HOSTS,
    Client,
    Cloud,
    admin,
    create,
    flavor,
    image,
    member,
    server,
)

__all__ = ["admin", "create", "flavor", "image", "member", "server"]

pytestmark = pytest.mark.parametrize("database_server", ["mariadb"], indirect=True, scope="session")
LARGE = "4"
"""m1.large: 8192 MiB, so that a host of 16384 MiB has room for two."""


@pytest.fixture(scope="module")
def cloud(database_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud whose tables the migrations made and ``bootstrap`` filled."""
    name = f"t{uuid.uuid4().hex[:12]}"
    database_server.create_database(name)
    try:
        url = database_server.url(name)
        made = Cloud(tmp_path_factory.mktemp("cloud"), connection=url)
        made.start()
        yield made
        made.stop()
    finally:
        database_server.drop_database(name)


def claimed(admin: Client) -> dict[str, int]:
    """MiB that are claimed on each host."""
    rows = admin.get("services").json["services"]
    return {row["host"]: row["resources"]["memory_mb"]["used"] for row in rows
            if row["host"] in HOSTS}  # fmt: skip


def test_a_machine_goes_off_here_and_on_in_another_zone(
    member: Client, admin: Client, server: str
) -> None:
    before = admin.show(server)
    assert member.act(server, "vm-poweroff", {}).status_code == 202
    assert member.await_state(server, "powered_off")["OS-EXT-STS:power_state"] == 10
    assert not any(claimed(admin).values())
    zone = "az2" if before["OS-EXT-AZ:availability_zone"] == "az1" else "az1"
    assert member.act(server, "vm-poweron", {"availability_zone": zone}).status_code == 202
    after = member.await_state(server, "active")
    assert after["OS-EXT-AZ:availability_zone"] == zone
    assert after["addresses"] == before["addresses"]
    assert member.delete(f"servers/{server}").status_code == 204
    member.await_gone(server)
    assert not any(claimed(admin).values())


def test_a_refused_action_changes_nothing(member: Client, server: str) -> None:
    before = member.show(server)
    assert member.act(server, "vm-poweron", {"availability_zone": "az2"}).status_code == 400
    assert member.act(server, "resume").status_code == 409
    assert member.show(server) == before


def test_fifty_creates_at_once_never_exceed_a_hosts_room(
    create: Callable[..., Result], member: Client, admin: Client
) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: create(member, flavorRef=LARGE), range(50)))
    assert Counter(answer.status_code for answer in answers) == {202: 6, 409: 44}
    assert claimed(admin) == dict.fromkeys(HOSTS, 16384)
    for answer in answers:
        if answer.status_code == 202:
            member.await_state(answer.json["server"]["id"], "active")


def test_the_ledger_is_whole(cloud: Cloud, server: str) -> None:
    settings = str(cloud.place.settings("manage"))
    command = [program("paddock-manage"), "--config-file", settings, "check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_extra_specs_that_are_added_at_once_are_all_there(admin: Client) -> None:
    wanted = {"name": f"f{uuid.uuid4().hex[:8]}", "ram": 64, "vcpus": 1, "disk": 1}
    key = admin.post("flavors", {"flavor": wanted}).json["flavor"]["id"]
    specs = {f"hw:{number}": str(number) for number in range(8)}
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda item: (
                admin.post(
                    f"flavors/{key}/os-extra_specs", {"extra_specs": dict([item])}
                ).status_code
            ),
            specs.items(),
        )
        assert set(answers) == {200}
    assert admin.get(f"flavors/{key}/os-extra_specs").json["extra_specs"] == specs
