"""What a cloud on real parts promises: real guests, and hosts that die and come back."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid

import pytest

from devstack.cloud_user import COMPUTE
from tests.fixtures.cloud import wait_for
from tests.fixtures.multihost import DISK_PORT, MultihostLab, lab, multihost

pytestmark = pytest.mark.clouds

__all__ = ["lab", "multihost"]

SOON = 20.0
RECOVERY_SECONDS = 60.0


def test_stack_sh_shows_every_process_and_may_be_run_again(lab: MultihostLab) -> None:
    status = json.loads(lab.stack.run("status", "--json"))
    roles = [process["role"] for process in status["processes"] if process["alive"]]
    assert roles.count("compute") == roles.count("libvirtd") == 3
    assert roles.count("conductor") == 2
    demo = lab.stack.run("multihost", timeout=420)
    assert "vm-poweron in az2" in demo
    assert str(lab.place.clouds) in demo


def test_a_suspended_guest_frees_its_memory_and_goes_on_after_its_host_restarted(
    lab: MultihostLab,
) -> None:
    server = lab.booted("az1", "suspended")
    host = lab.hosts[str(server.host)]
    claims = lab.claims()
    assert lab.running_on(server) == [host.name]

    assert lab.do(server, "suspend", "SUSPENDED").power_state == 7
    assert lab.running_on(server) == []
    assert lab.claims() == claims
    before = lab.counters(server)
    host.stop("compute", "libvirtd")
    host.start()
    lab.await_state(host.name, "up")
    assert lab.cloud.show(server.id).status == "SUSPENDED"

    assert lab.do(server, "resume", "ACTIVE").power_state == 1
    assert lab.running_on(server) == [host.name]
    wait_for(lambda: len(lab.counters(server)) > len(before) + 1, "two more lines", SOON)
    counters = lab.counters(server)
    assert counters == list(range(counters[0], counters[0] + len(counters)))
    assert {line["boots"] for line in lab.lines(server)} == {"1"}


def test_a_paused_guest_stands_still_and_goes_on(lab: MultihostLab) -> None:
    server = lab.booted("az1", "paused")
    assert lab.do(server, "pause", "PAUSED").power_state == 3
    before = lab.counters(server)
    time.sleep(3)  # three lines, if it ran
    assert lab.counters(server) == before
    assert lab.do(server, "unpause", "ACTIVE").power_state == 1
    wait_for(lambda: len(lab.counters(server)) > len(before) + 1, "two more lines", SOON)
    counters = lab.counters(server)
    assert counters == list(range(counters[0], counters[0] + len(counters)))


def test_power_on_without_a_zone_leaves_the_disk_where_it_lies(lab: MultihostLab) -> None:
    server = lab.booted("az1", "stays")
    host = lab.hosts[str(server.host)]
    assert lab.do(server, "vm-poweroff", "SHUTOFF").power_state == 10
    assert (lab.running_on(server), host.domains(server.id)) == ([], [])
    [disk] = host.disks(server.id)
    file = disk.stat().st_ino

    again = lab.do(server, "vm-poweron", "ACTIVE")
    assert lab.steps(server) == [("launch", host.name, "succeeded")]
    assert (again.host, again.mac, again.ip) == (host.name, server.mac, server.ip)
    assert [path.stat().st_ino for path in host.disks(server.id)] == [file]
    assert lab.hear(server, boots=2)["mark"] == "stays"


def test_power_on_in_another_zone_takes_everything_along(lab: MultihostLab) -> None:
    server = lab.off("az1")
    old, new = lab.hosts[str(server.host)], lab.hosts["h3"]
    moved = lab.do(server, "vm-poweron", "ACTIVE", availability_zone="az2")
    assert (moved.host, moved.zone) == ("h3", "az2")
    assert (moved.mac, moved.ip) == (server.mac, server.ip)

    wait_for(lambda: not old.disks(server.id), "end of the old disk", SOON)
    assert old.domains(server.id) == []
    assert lab.running_on(server) == ["h3"]
    [disk] = new.disks(server.id)
    assert disk.stat().st_blocks * 512 < disk.stat().st_size / 4
    wait_for(lambda: not any(lab.cloud.claims(old.name).values()), "no claim there", SOON)


def test_a_stopped_server_migrates_with_its_disk_and_addresses(lab: MultihostLab) -> None:
    server = lab.booted("az1", "goes")
    old, new = lab.hosts[str(server.host)], lab.hosts["h3"]
    assert lab.do(server, "os-stop", "SHUTOFF").power_state == 4
    assert old.domains(server.id)
    path = f"{COMPUTE}/servers/{server.id}/action"
    lab.admin.post(path, {"migrate": {"availability_zone": "az2"}})
    moved = lab.cloud.wait_for(server.id, "SHUTOFF", SOON)
    assert (moved.host, moved.zone, moved.power_state) == ("h3", "az2", 4)
    wait_for(lambda: not old.disks(server.id), "end of the old disk", SOON)
    assert old.domains(server.id) == new.domains(server.id) == []
    wait_for(lambda: not any(lab.cloud.claims(old.name).values()), "no claim there", SOON)

    again = lab.do(server, "os-start", "ACTIVE")
    assert (again.host, again.mac, again.ip) == ("h3", server.mac, server.ip)
    assert lab.hear(server, boots=2)["mark"] == "goes"


def test_a_drain_empties_a_host_of_real_guests_and_brings_them_back(lab: MultihostLab) -> None:
    first = lab.booted("az1", "drained")
    still = lab.off("az1")
    source = lab.hosts[str(first.host)]
    if still.host != source.name:
        path = f"{COMPUTE}/servers/{still.id}/action"
        lab.admin.post(path, {"migrate": {"host": source.name}})
        lab.cloud.wait_for(still.id, "SHUTOFF", SOON)
    body = {"host": source.name, "reason": "a disk fails"}
    drain = lab.drained(lab.admin.post(f"{COMPUTE}/drains", body)["drain"]["id"], "completed")
    assert {one["verdict"] for one in drain["machines"]} == {"moved"}
    assert not source.qemus()
    wait_for(lambda: not source.disks(), "end of the old disks", SOON)
    moved = lab.cloud.show(first.id)
    assert (moved.status, moved.mac, moved.ip) == ("ACTIVE", first.mac, first.ip)
    assert moved.host != source.name
    assert lab.hear(moved, boots=2)["mark"] == "drained"
    assert lab.cloud.show(still.id).power_state == 10

    lab.admin.post(f"{COMPUTE}/drains/{drain['id']}/action", {"restore": None})
    lab.drained(drain["id"], "restored")
    assert lab.cloud.show(first.id).host == lab.cloud.show(still.id).host == source.name
    assert lab.running_on(first) == [source.name]


def test_what_a_host_holds_opens_nothing_of_another_host(lab: MultihostLab) -> None:
    server = lab.off("az1")
    owner, thief = lab.hosts[str(server.host)], lab.hosts["h3"]
    assert owner.listening() == {DISK_PORT}
    step = str(uuid.uuid4())
    for ticket in ("", f"{step}.{'x' * 32}"):
        assert thief.asks_for_a_disk(owner, ticket) == 404


def test_power_on_is_refused_while_the_disks_host_is_dead(lab: MultihostLab) -> None:
    server = lab.off("az1")
    lab.kill(str(server.host))
    claims = lab.claims()
    for arguments in ({}, {"availability_zone": "az2"}):
        refusal = lab.refusal(server, "vm-poweron", **arguments)
        assert " gave 400: " in refusal
        assert f"lies on host {server.host}, which is not up" in refusal
    assert lab.cloud.show(server.id) == server
    assert lab.claims() == claims

    lab.revive()
    assert lab.do(server, "vm-poweron", "ACTIVE").host == server.host
    assert lab.running_on(server) == [server.host]


@pytest.mark.parametrize("kind", ["fetch", "launch"])
def test_a_power_on_outlives_the_death_of_its_agent(lab: MultihostLab, kind: str) -> None:
    server = lab.off("az1")
    source, target = lab.hosts[str(server.host)], lab.hosts["h3"]
    if kind == "fetch":
        source.hang("compute")
    try:
        lab.cloud.act(server.id, "vm-poweron", {"availability_zone": "az2"})
        if kind == "fetch":
            wait_for(lambda: ("fetch", "h3", "running") in lab.steps(server), "fetch", SOON)
        else:
            wait_for(lambda: target.qemus(server.id), "launch", SOON)
        target.kill("compute")
    finally:
        source.go_on("compute")
    assert lab.cloud.show(server.id).task == "powering-on"

    target.start()
    begun = time.monotonic()
    lab.cloud.wait_for(server.id, "ACTIVE", RECOVERY_SECONDS)
    assert time.monotonic() - begun < RECOVERY_SECONDS
    attempts = {step["kind"]: step["attempt"] for step in lab.action(server)["steps"]}
    assert attempts[kind] == 2
    assert lab.running_on(server) == ["h3"]


def test_an_action_whose_hint_was_lost_is_done_when_the_agent_is_back(lab: MultihostLab) -> None:
    server = lab.create("az1")
    host = lab.hosts[str(server.host)]
    host.kill("compute")
    lab.cloud.act(server.id, "pause", {})
    lab.drop_hint(host.name)
    assert lab.state(host.name) == "up"
    host.start()
    assert lab.cloud.wait_for(server.id, "PAUSED", RECOVERY_SECONDS).power_state == 3
    assert lab.steps(server) == [("pause", host.name, "succeeded")]


def test_a_server_on_a_dead_host_is_deleted_at_once_and_cleaned_up_later(
    lab: MultihostLab,
) -> None:
    server = lab.create("az1")
    host = lab.hosts[str(server.host)]
    lab.kill(host.name)
    lab.cloud.delete(server.id, timeout=5)
    assert not any(lab.cloud.claims(host.name).values())
    assert host.qemus(server.id)

    lab.revive()
    wait_for(lambda: not host.qemus(server.id), "end of the guest", SOON)
    wait_for(lambda: not host.disks(server.id), "end of its disk", SOON)
    assert host.domains(server.id) == []


@pytest.mark.parametrize(("end", "power_state"), [("by itself", 4), ("killed", 6)])
def test_a_guest_that_ends_is_shown_as_off(lab: MultihostLab, end: str, power_state: int) -> None:
    server = lab.booted("az1") if end == "by itself" else lab.create("az1")
    host = lab.hosts[str(server.host)]
    if end == "by itself":
        host.press_power_button(server.id)
    else:
        [pid] = host.qemus(server.id)
        os.kill(pid, signal.SIGKILL)
    assert lab.cloud.wait_for(server.id, "SHUTOFF", SOON).power_state == power_state
    assert lab.do(server, "os-start", "ACTIVE").host == host.name
    assert lab.running_on(server) == [host.name]


def test_afterwards_the_ledger_is_whole_and_nothing_is_left_on_the_hosts(
    lab: MultihostLab,
) -> None:
    for host in lab.hosts.values():
        wait_for(lambda h=host: not h.qemus() and not h.disks(), f"empty {host.name}", SOON)  # type: ignore[misc]
        assert host.domains() == []
    assert not any(any(claims.values()) for claims in lab.claims().values())
    done = lab.check()
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_log_and_no_command_line_of_the_clouds_processes_has_a_secret(
    lab: MultihostLab,
) -> None:
    secrets, told = lab.secrets(), lab.told()
    assert len(secrets) > len(lab.hosts) + 3  # users, hosts, conductors, database, key
    assert {"api", "conductor-c1", "compute-h1"} <= told.keys()
    assert [name for name, text in told.items() if any(one in text for one in secrets)] == []


def test_down_leaves_nothing_though_a_libvirtd_and_an_agent_hang(multihost: MultihostLab) -> None:
    multihost.revive()
    server = multihost.create("az2")
    multihost.hosts["h1"].hang("compute")
    multihost.hosts[str(server.host)].hang("libvirtd")
    multihost.stack.run("down")
    assert multihost.stack.remains() == []
