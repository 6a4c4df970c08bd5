"""The libvirt driver with real guests, on libvirt inside this process."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from compute_agent.drivers.base import Pausable
from compute_agent.drivers.libvirt import embed
from compute_agent.drivers.libvirt.connection import Connection
from compute_agent.drivers.libvirt.guest import Guest, look_at_all
from compute_agent.drivers.libvirt.probe import QEMU, QEMU_SECONDS, Probe
from devstack.guest.build import GuestImages
from paddock.actions import Seen
from paddock.errors import HypervisorError
from tests.driver_contract import DriverContract, find, last_line, launched, quiet, wait_for
from tests.libvirt_lab import LibvirtLab, pid_of, raw_image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lab(embed_root: Path, images: GuestImages, tmp_path: Path) -> Iterator[LibvirtLab]:
    options = {"uri": embed.prepare(embed_root), "network": "user", "virt_type": "qemu"}
    lab = LibvirtLab(tmp_path, images, {"h1": options, "h2": options})
    yield lab
    lab.empty()
    lab.close()


@pytest.fixture
def probe(embed_root: Path, tmp_path: Path) -> Iterator[Probe]:
    connection = Connection(embed.prepare(embed_root), 30.0, lambda _line: None)
    yield Probe(connection, tmp_path / "probe", "q35")
    connection.close()


class TestLibvirtDriver(DriverContract):
    pass


def test_the_address_is_the_ports_own(lab: LibvirtLab) -> None:
    guest = lab.guest()
    lab.driver.launch(guest, launched())

    def address() -> str | None:
        line = last_line(lab.driver, guest.id)
        return line["ip"] if line and line["ip"] != "-" else None

    assert wait_for(address, lab.patience, "address") == guest.ports[0].address


def test_a_disk_that_boots_by_itself_needs_no_kernel(lab: LibvirtLab, images: GuestImages) -> None:
    lab.image, lab.boot = raw_image(images.boot), None
    guest = lab.guest("by-itself")
    lab.driver.launch(guest, launched())
    line = wait_for(lambda: last_line(lab.driver, guest.id), lab.patience, "line")
    assert line["mark"] == "by-itself"


def test_a_guest_starts_with_all_the_metadata_that_there_may_be(lab: LibvirtLab) -> None:
    most = {f"n{number:03}" + "k" * 251: "," * 255 for number in range(127)}
    guest = lab.guest(metadata={"mark": "much"} | most)
    lab.driver.launch(guest, launched())
    line = wait_for(lambda: last_line(lab.driver, guest.id), lab.patience, "line")
    assert line["mark"] == "much"


def test_hosts_that_share_a_hypervisor_know_their_own_guests_only(lab: LibvirtLab) -> None:
    """Also of one instance that, wrongly, is on both: so that reconcile can end one of them."""
    guest, other = lab.guest(), lab.elsewhere()
    lab.driver.launch(guest, launched())
    assert find(other, guest.id) is None
    other.launch(guest, launched())
    assert lab.driver.seen(guest.id) is other.seen(guest.id) is Seen.RUNNING
    lab.driver.destroy(guest.id, None)
    assert lab.driver.seen(guest.id) is Seen.GONE
    assert other.seen(guest.id) is Seen.RUNNING


def test_a_killed_guest_crashed_and_one_that_was_forced_off_did_not(lab: LibvirtLab) -> None:
    killed, forced = lab.guest(), lab.guest()
    for guest in (killed, forced):
        lab.driver.launch(guest, launched())
    os.kill(pid_of(killed.id), signal.SIGKILL)
    wait_for(lambda: (killed.id, Seen.CRASHED) in lab.changes, lab.patience, "news of the crash")
    lab.driver.shut_down(forced.id, 0, quiet())
    assert lab.driver.seen(killed.id) is Seen.CRASHED
    assert lab.driver.seen(forced.id) is Seen.OFF


def test_a_launch_that_libvirt_refuses_leaves_nothing(lab: LibvirtLab) -> None:
    guest = lab.guest(memory_mb=10**9)
    with pytest.raises(HypervisorError):
        lab.driver.launch(guest, launched())
    assert find(lab.driver, guest.id) is None


def test_a_guest_that_runs_although_its_start_failed_keeps_its_disk(
    lab: LibvirtLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Guest.start

    def start_and_lose_the_answer(domain: Guest, longer: float = 0.0) -> None:
        start(domain, longer)
        raise HypervisorError("libvirt: Cannot recv data: Connection reset by peer")

    monkeypatch.setattr(Guest, "start", start_and_lose_the_answer)
    guest = lab.guest()
    with pytest.raises(HypervisorError):
        lab.driver.launch(guest, launched())
    found = find(lab.driver, guest.id)
    assert found is not None
    assert (found.seen, found.disks) == (Seen.RUNNING, [1])


def test_a_guest_that_crashed_is_off_once_it_was_shut_down(lab: LibvirtLab) -> None:
    guest = lab.guest()
    lab.driver.launch(guest, launched())
    os.kill(pid_of(guest.id), signal.SIGKILL)
    wait_for(lambda: lab.driver.seen(guest.id) is Seen.CRASHED, lab.patience, "crash")
    lab.driver.shut_down(guest.id, 0, quiet())
    assert lab.driver.seen(guest.id) is Seen.OFF


def test_a_running_guest_without_a_definition_can_be_destroyed(lab: LibvirtLab) -> None:
    guest = lab.guest()
    lab.driver.launch(guest, launched())
    lab.forget(guest.id)
    lab.driver.destroy(guest.id, None)
    assert lab.driver.seen(guest.id) is Seen.GONE


def test_a_save_that_a_killed_agent_began_is_ended_by_what_comes_next(lab: LibvirtLab) -> None:
    """Meanwhile the guest looks paused, though it will soon be off."""
    guest = lab.guest()
    lab.driver.launch(guest, launched())
    wait_for(lambda: last_line(lab.driver, guest.id), lab.patience, "line")
    abandoned = lab.driver._guest(guest.id).save()
    wait_for(lambda: lab.driver.seen(guest.id) is Seen.PAUSED, lab.patience, "saving")
    assert isinstance(lab.driver, Pausable)
    lab.driver.pause(guest.id)
    assert abandoned.done(lab.patience)
    assert lab.driver.seen(guest.id) is Seen.PAUSED
    lab.driver.unpause(guest.id)
    assert lab.driver.seen(guest.id) is Seen.RUNNING


def test_a_connection_that_cannot_be_used_is_closed() -> None:
    """libvirt's own test driver cannot keep a connection alive."""

    def there() -> int:
        gc.collect()
        return sum(isinstance(one, libvirt.virConnect) for one in gc.get_objects())

    before = there()
    with pytest.raises(HypervisorError):
        Connection("test:///default", 30.0, lambda _line: None).call(lambda _conn: None)
    assert there() == before


class Unreadable:
    """A domain of which libvirt cannot say more than the name, with this error's number."""

    def __init__(self, code: int) -> None:
        self._error = libvirt.libvirtError("no answer")
        self._error.err = (code, 0, "no answer", 0, "", None, None, -1, -1)

    def name(self) -> str:
        return "ours-1"

    def metadata(self, *_what: object) -> str:
        raise self._error

    def listAllDomains(self) -> list[Unreadable]:
        return [self]


def test_only_a_guest_that_has_gone_is_left_out_of_what_was_found() -> None:
    """Else a hypervisor that dies meanwhile would seem to have lost all its guests."""
    assert look_at_all(Unreadable(libvirt.VIR_ERR_NO_DOMAIN), "ours-") == {}
    with pytest.raises(libvirt.libvirtError):
        look_at_all(Unreadable(libvirt.VIR_ERR_RPC), "ours-")


def test_the_probe_guest_is_heard_and_shows_what_it_can(probe: Probe) -> None:
    assert probe.run(QEMU, QEMU_SECONDS) == ["pause", "suspend"]
    assert not list(probe.directory.iterdir())


def test_what_the_probe_decides_for_itself_is_true_and_remembered(
    probe: Probe, tmp_path: Path
) -> None:
    measured = probe.measure("auto", tmp_path / "measured.json")
    assert probe.measure("auto", tmp_path / "measured.json") == measured
    assert probe.run(measured.virt_type, QEMU_SECONDS) == measured.capabilities


def test_guests_outlive_a_killed_agent_and_are_purged_without_one(tmp_path: Path) -> None:
    """In processes of their own, as one process can open one embedded hypervisor only."""
    root = tmp_path / "a-long-name-as-checkouts-often-have-them" / "embed"
    start = """
import os, signal, sys, libvirt
from pathlib import Path
from compute_agent.drivers.libvirt import embed, xml
from compute_agent.drivers.libvirt.connection import Connection
connection = Connection(embed.prepare(Path(sys.argv[1])), 90.0, print)
document = xml.probe_xml("left", "qemu", os.uname().machine, "q35",
                         Path(sys.argv[2]), Path(sys.argv[2] + ".log"))
Path(sys.argv[2]).write_bytes(bytes(512))
connection.call(lambda conn: conn.defineXML(document).create())
os.kill(os.getpid(), signal.SIGKILL)
"""
    purge = """
import sys
from pathlib import Path
from compute_agent.drivers.libvirt import embed
print(embed.purge(Path(sys.argv[1])))
"""
    outcomes = [
        subprocess.run(
            [sys.executable, "-c", code, str(root), str(tmp_path / "disk")],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )
        for code in (start, purge, purge)
    ]  # fmt: skip
    assert outcomes[0].returncode == -signal.SIGKILL, outcomes[0].stderr
    assert [outcome.stdout.strip() for outcome in outcomes[1:]] == ["['left']", "[]"]
