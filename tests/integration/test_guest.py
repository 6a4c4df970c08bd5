"""The test guest's promises, on bare QEMU: what the demo and other tests rest on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack.guest.build import GuestImages, build
from tests.fixtures.guest import QEMU

pytestmark = pytest.mark.clouds

MAC = "52:54:00:70:61:64"
ADDRESS = "10.0.5.77"
STATUS = re.compile(
    r"PADDOCK-GUEST mark=(?P<mark>\S+) boots=(?P<boots>\d+) mac=(?P<mac>\S+) ip=(?P<ip>\S+)"
    r" counter=(?P<counter>\d+)"
)


class Machine:
    """One QEMU process without libvirt; its console is read from a file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._console = folder / f"console-{time.monotonic_ns()}"
        network = f"user,id=net,net=10.0.5.0/24,dhcpstart={ADDRESS},restrict=on"
        command = [
            QEMU,
            "-accel",
            "tcg",
            "-m",
            "128",
            "-display",
            "none",
            "-nodefaults",
            "-serial",
            f"file:{self._console}",
            "-qmp",
            "stdio",
            "-netdev",
            network,
            "-device",
            f"virtio-net-pci,netdev=net,mac={MAC}",
            *options,
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.command("qmp_capabilities")

    def command(self, name: str) -> None:
        """Give QEMU a command and wait until it has taken it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"execute": name}) + "\n")
        self._process.stdin.flush()
        while "return" not in json.loads(self._process.stdout.readline()):
            pass

    def read_status(self) -> list[dict[str, str]]:
        """All status lines so far, oldest first."""
        if not self._console.exists():
            return []
        lines = self._console.read_bytes().decode().split("\r\n")[:-1]
        return [found.groupdict() for line in lines if (found := STATUS.fullmatch(line))]

    def wait_for(self, **wanted: str) -> dict[str, str]:
        """Wait for a status line with these values, and return the newest such line."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            for status in reversed(self.read_status()):
                if wanted.items() <= status.items():
                    return status
            time.sleep(0.05)
        said = self._console.read_bytes()[-2000:] if self._console.exists() else b"nothing"
        pytest.fail(f"no status line with {wanted}; the console says {said!r}")

    def press_power_button(self) -> float:
        """Press it and say how many seconds the machine took to switch itself off."""
        pressed = time.monotonic()
        self.command("system_powerdown")
        assert self._process.wait(timeout=30) == 0
        return time.monotonic() - pressed

    def pull_the_plug(self) -> None:
        """End the machine without asking it, also when it is off already."""
        self._process.kill()
        self._process.communicate(timeout=10)


Boot = Callable[..., Machine]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    machines: list[Machine] = []

    def start(*options: str) -> Machine:
        machines.append(Machine(tmp_path, *options))
        return machines[-1]

    yield start
    for machine in machines:
        machine.pull_the_plug()


@pytest.fixture
def direct(images: GuestImages, tmp_path: Path) -> list[str]:
    """Options for a machine whose kernel is given directly, with a fresh data disk."""
    disk = shutil.copy(images.disk, tmp_path / "disk.raw")
    return [
        "-machine",
        "q35",
        "-drive",
        f"if=virtio,format=raw,file={disk}",
        "-kernel",
        str(images.vmlinuz),
        "-initrd",
        str(images.initrd),
        "-append",
    ]


def give_mark(text: str) -> list[str]:
    return ["-smbios", f"type=11,value=paddock:mark={text}"]


def test_second_build_returns_at_once(images: GuestImages) -> None:
    before = {path: path.stat().st_mtime_ns for path in images.vmlinuz.parent.iterdir()}
    said: list[str] = []
    assert build(images.vmlinuz.parent, said.append) == images
    assert said == []
    assert before == {path: path.stat().st_mtime_ns for path in images.vmlinuz.parent.iterdir()}


def test_mark_given_at_creation_is_kept_on_the_disk(
    images: GuestImages, boot: Boot, direct: list[str], tmp_path: Path
) -> None:
    machine = boot(*direct, images.cmdline, *give_mark("hello you"))
    status = machine.wait_for(ip=ADDRESS)
    assert (status["mark"], status["boots"], status["mac"]) == ("hello_you", "1", MAC)
    # 3 s is the promise; the rest is for a host that is busy with other tests.
    assert machine.press_power_button() < 3 + 3
    subprocess.run(["/sbin/e2fsck", "-fn", tmp_path / "disk.raw"], check=True, timeout=30)

    machine = boot(*direct, f"{images.cmdline} paddock.mark=other")
    assert machine.wait_for(ip=ADDRESS)["mark"] == "hello_you"
    assert machine.wait_for(boots="2")


def test_counter_goes_on_where_a_pause_stopped_it(
    images: GuestImages, boot: Boot, direct: list[str]
) -> None:
    machine = boot(*direct, f"{images.cmdline} paddock.mark=from-cmdline")
    assert machine.wait_for(boots="1")["mark"] == "from-cmdline"
    machine.command("stop")
    at_pause = machine.read_status()
    time.sleep(4)  # longer than the guest would need to betray that its clock ran on
    assert machine.read_status() == at_pause
    machine.command("cont")
    following = int(at_pause[-1]["counter"]) + 1
    machine.wait_for(counter=str(following + 2))
    counters = [int(status["counter"]) for status in machine.read_status()]
    assert counters == list(range(counters[0], counters[0] + len(counters)))


@pytest.mark.parametrize("kind", ["pc", "q35"])
def test_boot_disk_starts_by_itself_and_outlives_a_power_cut(
    images: GuestImages, boot: Boot, tmp_path: Path, kind: str
) -> None:
    disk = shutil.copy(images.boot, tmp_path / "boot.raw")
    options = ["-machine", kind, "-drive", f"if=virtio,format=raw,file={disk}"]
    machine = boot(*options, *give_mark(kind))
    assert machine.wait_for(boots="1")["mark"] == kind
    machine.pull_the_plug()

    machine = boot(*options, *give_mark("other"))
    assert machine.wait_for(boots="2", ip=ADDRESS)["mark"] == kind
    assert machine.press_power_button() < 3 + 3


def test_guest_without_disk_or_mark_says_so(images: GuestImages, boot: Boot) -> None:
    machine = boot(
        "-machine",
        "q35",
        "-kernel",
        str(images.vmlinuz),
        "-initrd",
        str(images.initrd),
        "-append",
        images.cmdline,
        "-m",
        "96",
    )
    assert machine.wait_for(boots="0")["mark"] == "none"
