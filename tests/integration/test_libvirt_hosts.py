"""The libvirt driver on hosts with their own libvirtd, on one layer-2 network."""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import socket
import subprocess
import threading
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
from paddock.errors import GuestHung, HypervisorError
from paddock.records import DiskSource, GuestSpec, PortSpec
from tests.driver_contract import find, last_line, launched, quiet, wait_for
from tests.libvirt_lab import LibvirtLab, pid_of

pytestmark = pytest.mark.clouds

CALL_TIMEOUT = 5.0
CALLS = 8
MARK = b"never changed on its way"


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
                "migration_uri": f"qemu+tcp://{host.address}/system",
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


def test_a_machine_moves_to_another_host_with_its_disk_and_address(lab: HostsLab) -> None:
    guest = lab.booted("moved")
    lab.driver.shut_down(guest.id, lab.patience, quiet())
    lab.driver.release(guest.id)
    assert not answers(guest)

    store = lab.driver.facts().store
    assert store.startswith("qemu+tcp://")
    assert isinstance(lab.second, DiskMover)
    progress: list[tuple[int, int]] = []
    source = DiskSource(host="h1", store=store, generation=1)
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


class Meddler(threading.Thread):
    """Passes TCP on, and changes one byte of the first run of ``MARK`` that comes back."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.meddled = False

    def run(self) -> None:
        outside, _ = self._listener.accept()
        inside = socket.create_connection((self._address, 16509))
        self._listener.close()
        with outside, inside, selectors.DefaultSelector() as both:
            both.register(outside, selectors.EVENT_READ, inside.sendall)
            both.register(inside, selectors.EVENT_READ, lambda d: outside.sendall(self._meddle(d)))
            while True:
                for ready, _ in both.select():
                    data = ready.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    ready.data(data)

    def _meddle(self, data: bytes) -> bytes:
        if self.meddled or MARK not in data:
            return data
        self.meddled = True
        return data.replace(MARK, b"?" + MARK[1:], 1)


def test_a_byte_that_changes_on_its_way_is_found_out(lab: HostsLab) -> None:
    guest = lab.guest(ports=[lab.port()])
    lab.driver.launch(guest, launched())
    lab.driver.shut_down(guest.id, 0, quiet())
    [disk] = (lab.root / "h1" / "disks").glob(f"{guest.id}.*")
    with disk.open("r+b") as stream:
        stream.seek(disk.stat().st_size // 2)
        stream.write(MARK * 10_000)
    meddler = Meddler(lab.net.host(1).address)
    meddler.start()
    store = f"qemu+tcp://127.0.0.1:{meddler.port}/system?pool=paddock"
    with pytest.raises(HypervisorError, match="another one"):
        lab.second.fetch(guest, DiskSource(host="h1", store=store, generation=1), 2, quiet())
    assert meddler.meddled
    assert find(lab.second, guest.id) is None


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


def test_a_move_from_a_host_that_hangs_ends_and_leaves_nothing(lab: HostsLab) -> None:
    guest = lab.guest(ports=[lab.port()])
    lab.driver.launch(guest, launched())
    lab.driver.shut_down(guest.id, 0, quiet())
    source = DiskSource(host="h1", store=lab.driver.facts().store, generation=1)
    pid = libvirtd_of(lab.net.host(1)).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(GuestHung):
            lab.second.fetch(guest, source, 2, quiet())
    finally:
        os.kill(pid, signal.SIGCONT)
    assert find(lab.second, guest.id) is None
    lab.second.fetch(guest, source, 2, quiet())
    assert find(lab.second, guest.id) is not None
