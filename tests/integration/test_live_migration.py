"""Real guests that change hosts while they run, whatever becomes of agents and hypervisors."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from devstack.cloud_user import COMPUTE, Server
from devstack.guest.build import GuestImages
from tests.fixtures.cloud import wait_for
from tests.fixtures.multihost import SECONDS, MultihostLab, lab, running_cloud
from tests.fixtures.pings import Pings

pytestmark = pytest.mark.clouds

__all__ = ["lab"]

SOON = 20.0


@pytest.fixture(scope="module")
def multihost(
    images: GuestImages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MultihostLab]:
    """A cloud whose hosts hand running guests over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDOCK_LIVE_MIGRATION", "1")
        yield from running_cloud(images, tmp_path_factory)


def move(lab: MultihostLab, server: Server, host: str | None = None) -> None:
    body = {"os-migrateLive": {"host": host, "block_migration": True}}
    lab.admin.post(f"{COMPUTE}/servers/{server.id}/action", body)


def arrived(lab: MultihostLab, server: Server) -> Server:
    return lab.cloud.wait_for(server.id, "ACTIVE", SECONDS)


def whole(lab: MultihostLab, server: Server, host: str) -> None:
    """Exactly one guest runs, where the ledger says, and no other host has anything of it."""
    assert lab.cloud.show(server.id).host == host
    for other in lab.hosts.values():
        if other.name != host:
            wait_for(lambda o=other: not o.disks(server.id), f"no disk on {other.name}", SECONDS)  # type: ignore[misc]
            assert other.domains(server.id) == []
    assert lab.running_on(server) == [host]
    assert len(lab.hosts[host].disks(server.id)) == 1


def sending(lab: MultihostLab, server: Server) -> None:
    """Wait until the guest is on its way."""
    steps = ("send", server.host, "running")
    wait_for(lambda: steps in lab.steps(server), "sending", SOON)


def test_a_guest_counts_on_and_answers_on_while_it_changes_hosts(lab: MultihostLab) -> None:
    server = lab.booted("az1", "live")
    before = lab.counters(server)
    with Pings(server.ip) as pings:
        wait_for(lambda: pings.answers > 20, "answers", SOON)
        begun = time.monotonic()
        move(lab, server)
        moved = arrived(lab, server)
        took = time.monotonic() - begun
        answers = pings.answers
        wait_for(lambda: pings.answers > answers + 20, "answers", SOON)
    print(f"moved in {took:.1f} s, longest gap between answers {pings.longest * 1000:.0f} ms")
    assert moved.host != server.host
    assert (moved.mac, moved.ip, moved.power_state) == (server.mac, server.ip, 1)
    whole(lab, server, str(moved.host))
    assert not any(lab.cloud.claims(str(server.host)).values())
    wait_for(lambda: len(lab.counters(server)) > 2, "lines", SOON)
    after = lab.counters(server)
    assert after == list(range(after[0], after[0] + len(after)))
    assert before[-1] < after[0]
    assert {(line["boots"], line["mark"]) for line in lab.lines(server)} == {("1", "live")}

    again = lab.do(moved, "reboot", "ACTIVE", type="HARD")
    assert again.host == moved.host
    assert lab.hear(again, boots=2)["mark"] == "live"


def test_a_move_outlives_the_death_of_the_agent_that_sends(lab: MultihostLab) -> None:
    server = lab.booted("az1", "sender")
    move(lab, server, "h3")
    sending(lab, server)
    source = lab.hosts[str(server.host)]
    source.kill("compute")
    source.start()
    moved = arrived(lab, server)
    assert moved.host == "h3"
    whole(lab, server, "h3")
    assert {line["boots"] for line in lab.lines(server)} == {"1"}


@pytest.mark.parametrize("role", ["compute", "libvirtd"])
def test_when_the_target_dies_in_the_middle_one_copy_runs_on(lab: MultihostLab, role: str) -> None:
    server = lab.booted("az1", "target")
    move(lab, server, "h3")
    sending(lab, server)
    lab.hosts["h3"].kill(role)
    lab.hosts["h3"].start()
    kept = arrived(lab, server)
    whole(lab, server, str(kept.host))
    assert {line["boots"] for line in lab.lines(server)} == {"1"}


def test_a_machine_that_is_deleted_on_its_way_is_gone_from_both_hosts(lab: MultihostLab) -> None:
    server = lab.booted("az1", "deleted")
    move(lab, server, "h3")
    sending(lab, server)
    lab.cloud.delete(server.id, timeout=SECONDS)
    wait_for(lambda: not lab.running_on(server), "end of the guest", SECONDS)
    for host in lab.hosts.values():
        wait_for(lambda h=host: not h.disks(server.id), f"no disk on {host.name}", SECONDS)  # type: ignore[misc]
        assert host.domains(server.id) == []
    assert lab.check().returncode == 0


def test_a_host_commands_another_only_with_a_hosts_certificate(lab: MultihostLab) -> None:
    assert lab.hosts["h1"].commands(lab.hosts["h2"])
    assert not lab.hosts["h1"].commands(lab.hosts["h2"], with_certificate=False)
