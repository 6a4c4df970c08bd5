"""The libvirt driver on hosts with their own libvirtd, on one layer-2 network."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compute_agent.drivers.base import DiskMover, Pausable, Suspendable
from devstack.guest.build import GuestImages
from devstack.hosts import Host, HostNet
from devstack.processes import Record
from paddock.actions import Seen
from paddock.errors import GuestHung
from paddock.records import DiskSource, GuestSpec, PortSpec
from tests.driver_contract import find, last_line, launched, quiet, wait_for
from tests.libvirt_lab import LibvirtLab, pid_of

pytestmark = pytest.mark.clouds

CALL_TIMEOUT = 5.0
CALLS = 8


class HostsLab(LibvirtLab):
    """The lab on two namespaced hosts; guests are on their bridge.

    The drivers run outside of the hosts' network namespaces, so the test puts the uplinks in.
    """

    numbers = itertools.count(32)
    """Of ports: an address that a former guest had is leased for a while after its end."""

    def __init__(self, root: Path, images: GuestImages, net: HostNet) -> None:
        self.net = net
        options = {
            host.name: {
                "uri": f"qemu+tcp://{host.address}/system",
                "network": "bridge",
                "bridge": "brdata",
                "bridge_address": f"{host.data_address}/24",
                "call_timeout": CALL_TIMEOUT,
                "virt_type": "qemu",
            }
            for host in net.hosts()
        }
        super().__init__(root, images, options, {host.name: host.address for host in net.hosts()})
        self.second = self.connected("h2")
        for host in net.hosts():
            host.run(["ip", "link", "set", "dev", host.data_interface, "master", "brdata"])
            host.run(["ip", "link", "set", "dev", host.data_interface, "up"])

    def port(self) -> PortSpec:
        number = next(self.numbers)
        start = self.net.plan.guest_range[0].rsplit(".", 1)[0]
        return PortSpec(
            id=str(uuid.uuid4()), network_id="n", network_name="n",
            mac=f"fa:16:3e:01:00:{number:02x}",
            address=f"{start}.{number}", cidr=self.net.plan.guest_cidr,
        )  # fmt: skip

    def booted(self, mark: str = "first") -> GuestSpec:
        """A guest on the first host that has its address."""
        guest = self.guest(mark, ports=[self.port()])
        self.driver.launch(guest, launched())
        wait_for(lambda: answers(guest), self.patience, "answer to a ping")
        return guest


def answers(guest: GuestSpec) -> bool:
    command = ["busybox", "ping", "-c", "1", "-W", "1", guest.ports[0].address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def libvirtd_of(host: Host) -> Record:
    record = host.registry.find(f"libvirtd-{host.name}")
    assert record is not None
    return record


@pytest.fixture(scope="module")
def hosts(
    host_net: HostNet, images: GuestImages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HostsLab]:
    hosts = HostsLab(tmp_path_factory.mktemp("libvirt"), images, host_net)
    yield hosts
    hosts.close()


@pytest.fixture
def lab(hosts: HostsLab) -> Iterator[HostsLab]:
    yield hosts
    hosts.empty()


def test_disks_stay_on_a_host_that_has_no_certificate_to_show(lab: HostsLab) -> None:
    facts = lab.driver.facts()
    assert facts.store == ""
    assert DiskMover.name not in facts.capabilities


def test_a_machine_moves_to_another_host_with_its_disk_and_address(lab: HostsLab) -> None:
    guest = lab.booted("moved")
    lab.driver.shut_down(guest.id, lab.patience, quiet())
    lab.driver.release(guest.id)
    assert not answers(guest)

    assert isinstance(lab.second, DiskMover)
    progress: list[tuple[int, int]] = []
    source = DiskSource(host="h1", store=f"file://{lab.root}/h1/disks", generation=1)
    lab.second.fetch(guest, source, 2, quiet(progress))
    assert progress[-1][0] == progress[-1][1] > 0
    found = find(lab.second, guest.id)
    assert found is not None and found.disks == [2]
    copy = next(Path(lab.root / "h2" / "disks").glob(f"{guest.id}.*")).stat()
    assert copy.st_blocks * 512 < copy.st_size / 4

    lab.second.launch(guest, launched(generation=2))
    wait_for(lambda: answers(guest), lab.patience, "answer to a ping")
    line = wait_for(lambda: last_line(lab.second, guest.id), lab.patience, "line")
    assert (line["mark"], line["boots"], line["mac"]) == ("moved", "2", guest.ports[0].mac)


def test_a_suspended_guest_goes_on_after_libvirt_was_restarted(lab: HostsLab) -> None:
    guest = lab.booted()
    assert isinstance(lab.driver, Suspendable)
    lab.driver.suspend(guest.id, quiet())
    before = last_line(lab.driver, guest.id)
    host = lab.net.host(1)
    host.registry.stop(libvirtd_of(host))
    host.start_libvirtd()
    host.wait_ready()
    assert lab.driver.seen(guest.id) is Seen.SAVED
    lab.driver.resume(guest, launched())

    def line() -> bool:
        found = last_line(lab.driver, guest.id)
        assert found is not None and before is not None
        assert found["boots"] == before["boots"]
        return int(found["counter"]) > int(before["counter"])

    wait_for(line, lab.patience, "further line")
    wait_for(lambda: answers(guest), lab.patience, "answer to a ping")


def test_a_guest_outlives_libvirt_and_its_end_is_still_told(lab: HostsLab) -> None:
    guest = lab.booted()
    host = lab.net.host(1)
    host.registry.stop(libvirtd_of(host))
    assert answers(guest)
    host.start_libvirtd()
    host.wait_ready()
    assert lab.driver.seen(guest.id) is Seen.RUNNING
    lab.changes.clear()
    lab.end_by_itself(guest.id)
    wait_for(lambda: (guest.id, Seen.OFF) in lab.changes, lab.patience, "news of the end")


def test_a_hypervisor_that_hangs_costs_no_more_than_its_timeout(lab: HostsLab) -> None:
    guest = lab.guest(ports=[lab.port()])
    lab.driver.launch(guest, launched())
    pid = libvirtd_of(lab.net.host(1)).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            begun = time.monotonic()
            with pytest.raises(GuestHung):
                lab.driver.seen(guest.id)
            assert time.monotonic() - begun < CALL_TIMEOUT + 2
        begun = time.monotonic()
        lab.driver.facts()
        assert time.monotonic() - begun < 0.5
    finally:
        os.kill(pid, signal.SIGCONT)
    assert wait_for(lambda: lab.driver.seen(guest.id), lab.patience, "answer") is Seen.RUNNING


def test_a_guest_that_hangs_keeps_no_other_guest_waiting(lab: HostsLab) -> None:
    hung, other = (lab.guest(ports=[lab.port()]) for _ in range(2))
    for guest in (hung, other):
        lab.driver.launch(guest, launched())
    pid = pid_of(hung.id)
    os.kill(pid, signal.SIGSTOP)
    driver = lab.driver
    assert isinstance(driver, Pausable)
    try:
        with ThreadPoolExecutor(CALLS) as workers:
            calls = [workers.submit(driver.pause, hung.id) for _ in range(CALLS)]
            time.sleep(1.0)  # until all wait in libvirtd
            driver.pause(other.id)
            assert lab.driver.seen(other.id) is Seen.PAUSED
            assert not any(call.done() for call in calls)
            assert all(isinstance(call.exception(), GuestHung) for call in calls)
    finally:
        os.kill(pid, signal.SIGCONT)
