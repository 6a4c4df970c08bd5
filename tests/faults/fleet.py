"""The hosts of the cloud: what runs and lies on them, and how they die."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compute_agent.drivers.fake_control import Behaviour, FakeControl
from compute_agent.drivers.fake_guest import GuestFiles
from compute_agent.drivers.libvirt.console import LOG
from compute_agent.drivers.libvirt.xml import NETWORK
from devstack import network
from devstack.hosts import Host
from devstack.place import program, zone
from devstack.processes import wait_until
from paddock.actions import Seen

if TYPE_CHECKING:
    from tests.faults.cloud import FaultCloud

DISK = re.compile(r"([0-9a-f-]{36})\.g(\d+)\.raw(\.part)?")
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BOOTS = re.compile(rb"PADDOCK-GUEST mark=\S+ boots=(\d+) ")
ENTRY = re.compile(rf"name='({ID.pattern})-")
TAP = re.compile(r"^ *(vnet\d+):", re.MULTILINE)
BRIDGE = "brdata"
"""That libvirt makes on each host."""
NOTED = ("run", "lib", "etc")
"""Below a host's directory: where libvirt keeps what it knows; its logs stay."""
FILLER = "filler"
"""What leaves no room on a host's file system for disks."""
ROOM_MB = {"fake": 64, "libvirt": 2048}
"""Of each host's tmpfs for disks, by driver."""
VIRSH_STATES = {
    "running": Seen.RUNNING,
    "paused": Seen.PAUSED,
    "in shutdown": Seen.RUNNING,
    "idle": Seen.RUNNING,
    "shut off": Seen.OFF,
    "crashed": Seen.CRASHED,
    "saved": Seen.SAVED,
}


@dataclass(frozen=True)
class Inventory:
    """What is on a host.

    :ivar guests: instance → what its hypervisor says
    :ivar disks: (instance, generation)
    :ivar traces: (instance, what else there is of it: a file, an entry)
    :ivar boots: instance → how often its guest has booted, where that is known
    :ivar strays: what should not be there whatever the ledger says
    """

    guests: dict[str, Seen] = field(default_factory=dict)
    disks: set[tuple[str, int]] = field(default_factory=set)
    traces: set[tuple[str, str]] = field(default_factory=set)
    boots: dict[str, int] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)


class FaultHost(ABC):
    """One host and its processes.

    :param host: its namespaces
    """

    def __init__(self, cloud: FaultCloud, host: Host) -> None:
        self.cloud = cloud
        self.host = host
        self.name = host.name
        self.agent = f"compute-{host.name}"
        self.state = cloud.place.state(host.name)

    @property
    @abstractmethod
    def disk_directory(self) -> Path:
        """Where its instances' disks lie; a file system of its own."""

    def start(self) -> None:
        """Make its namespaces, and start what its agent needs."""
        self.disk_directory.mkdir(parents=True, exist_ok=True)
        room = f"size={ROOM_MB[self.cloud.driver]}m,mode=0755"
        mount = ["mount", "-t", "tmpfs", "-o", room, "tmpfs", str(self.disk_directory)]
        subprocess.run(mount, check=True, timeout=20)
        self._start()

    @abstractmethod
    def _start(self) -> None: ...

    def starts(self) -> dict[str, Callable[[], object]]:
        """Its processes, and how each is started again."""
        return {self.agent: self.start_agent}

    def start_agent(self) -> None:
        """Start the agent if it does not run."""
        if self.cloud.process(self.agent) is None:
            path = self.cloud.write_settings(self.agent, self._sections())
            self.host.spawn("compute", [program("paddock-compute"), "--config-file", str(path)])

    def _sections(self) -> dict[str, Any]:
        compute = {
            "zone": zone(self.host.number, self.cloud.net.size),
            "driver": self.cloud.driver,
            "machine_id_file": self.host.machine_id_file,
            "image_store": self.cloud.place.images,
            "address": self.host.address,
            "pki_path": self.host.certificate,
            "reserved_memory_mb": 0,
            "vcpus": 64,
            "memory_mb": 8192,
            "disk_gb": 512,
        } | self.cloud.pace.agent_options()
        return {**self.cloud.control.common(self.name), "compute": compute, **self._own()}

    def _own(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def inventory(self) -> Inventory:
        """What is on it now."""

    @abstractmethod
    def lose_power(self) -> None:
        """Let everything on it end at once; what starts again finds what a reboot leaves."""

    @abstractmethod
    def signal_guest(self, chance: random.Random, number: signal.Signals) -> str:
        """Signal one guest's hypervisor process, which ends it.

        :param number: SIGKILL or SIGTERM
        :return: the instance, empty when no guest runs
        """

    @abstractmethod
    def hang(self, chance: random.Random) -> Callable[[], object]:
        """Let calls of the hypervisor hang; gives what ends that."""

    def _disks(self) -> tuple[set[tuple[str, int]], list[str]]:
        names = {path.name for path in self.disk_directory.iterdir()} - {FILLER}
        found = {name: DISK.fullmatch(name) for name in names}
        whole = {
            name: (match[1], int(match[2])) for name, match in found.items()
            if match and not match[3]
        }  # fmt: skip
        return set(whole.values()), [f"the file {name}" for name in names - whole.keys()]

    def _traces(self) -> set[tuple[str, str]]:
        """All files and directories that are named after instances."""
        return {
            (match[0], name)
            for root in (self.state, *(self.host.directory / part for part in NOTED))
            for _, folders, files in os.walk(root)
            for name in (*folders, *files)
            if (match := ID.search(name))
        }


class FakeHost(FaultHost):
    """A host with the fake driver; only its network is its own."""

    @property
    def disk_directory(self) -> Path:
        return self.state / "fake" / "disks"

    @property
    def _files(self) -> GuestFiles:
        return GuestFiles(self.state / "fake" / "guests")

    def _start(self) -> None:
        self.host.up(hypervisor=False)

    def inventory(self) -> Inventory:
        guests = self._files.load_all()
        disks, parts = self._disks()
        return Inventory(
            {guest.id: guest.seen for guest in guests},
            disks,
            self._traces(),
            {guest.id: guest.boots for guest in guests},
            parts,
        )

    def lose_power(self) -> None:
        self.cloud.signal(self.agent, signal.SIGKILL)
        self.cloud.await_end(self.agent)
        files = self._files
        with files.lock():
            for guest in files.load_all():
                if guest.seen in (Seen.RUNNING, Seen.PAUSED):
                    files.change(guest, Seen.CRASHED)

    def signal_guest(self, chance: random.Random, number: signal.Signals) -> str:
        files = self._files
        with files.lock():
            running = [guest for guest in files.load_all() if guest.seen is Seen.RUNNING]
            if not running:
                return ""
            guest = chance.choice(running)
            files.change(guest, Seen.CRASHED if number == signal.SIGKILL else Seen.OFF)
        return guest.id

    def hang(self, chance: random.Random) -> Callable[[], object]:
        control = FakeControl(self.state / "fake")
        methods = ["launch", "pause", "shut_down", "found", "facts", "seen", "destroy", "fetch"]
        for method in chance.sample(methods, 2):
            control.set(method, Behaviour(hang=True))
        return control.clear


class LibvirtHost(FaultHost):
    """A host with its own libvirtd and QEMU."""

    def __init__(self, cloud: FaultCloud, host: Host) -> None:
        super().__init__(cloud, host)
        self.libvirtd = f"libvirtd-{host.name}"

    @property
    def disk_directory(self) -> Path:
        return self.state / "disks"

    def _start(self) -> None:
        self.host.up()
        self.host.wait_ready()

    def starts(self) -> dict[str, Callable[[], object]]:
        return super().starts() | {self.libvirtd: self.host.start_libvirtd}

    def _own(self) -> dict[str, Any]:
        return {
            "libvirt": {
                "uri": "qemu:///system",
                "network": "bridge",
                "bridge": BRIDGE,
                "uplink": self.host.data_interface,
                "bridge_address": f"{self.host.data_address}/24",
                "call_timeout": 10 if self.cloud.pace.quick else 30,
            }
        }

    def inventory(self) -> Inventory:
        listed = self.host.virsh("list", "--all", "--managed-save")
        if listed.returncode != 0:
            return Inventory(strays=[f"libvirtd does not answer: {listed.stderr.strip()}"])
        guests = {}
        for line in listed.stdout.splitlines()[2:]:
            words = line.split(maxsplit=2)
            if len(words) == 3 and (match := ID.search(words[1])):
                guests[match[0]] = VIRSH_STATES.get(words[2].strip(), Seen.GONE)
        disks, parts = self._disks()
        traces = self._traces() | self._entries()
        return Inventory(guests, disks, traces, self._boots(), parts + self._wild(guests))

    def _wild(self, guests: dict[str, Seen]) -> list[str]:
        """What runs that libvirt does not know."""
        active = {key for key, seen in guests.items() if seen in (Seen.RUNNING, Seen.PAUSED)}
        qemus = self.qemus()
        taps = TAP.findall(self.host.run(["cat", "/proc/net/dev"]).stdout)
        spare = [f"{len(taps)} interfaces of {len(qemus)} guests"] if len(taps) > len(qemus) else []
        return [f"a QEMU of {key}" for key in qemus if key not in active] + spare

    def _entries(self) -> set[tuple[str, str]]:
        """What DHCP knows of instances."""
        path = self.host.directory / "etc" / "qemu" / "networks" / f"{NETWORK}.xml"
        text = path.read_text() if path.exists() else ""
        return {(key, "an entry for DHCP") for key in ENTRY.findall(text)}

    def _boots(self) -> dict[str, int]:
        """What guests have said last of how often they booted."""
        said = {
            path.parent.name: BOOTS.findall(path.read_bytes())
            for path in (self.state / "guests").glob(f"*/{LOG}")
        }
        return {key: int(found[-1]) for key, found in said.items() if found}

    def qemus(self) -> dict[str, int]:
        """Instance → its QEMU process."""
        found = {}
        for pid in network.pids_in(self.host.namespace):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            guest = next((word for word in words if word.startswith("guest=")), "").split(",")[0]
            match = ID.search(guest.removeprefix("guest="))
            if match and Path(words[0]).name.startswith("qemu-system-"):
                found[match[0]] = pid
        return found

    def lose_power(self) -> None:
        for name in (self.agent, self.libvirtd):
            self.cloud.signal(name, signal.SIGKILL)
        holder = self.cloud.process(f"host-{self.name}")
        victims = [
            pid for pid in network.pids_in(self.host.namespace) if not holder or pid != holder.pid
        ]
        for pid in victims:
            _signal(pid, signal.SIGKILL)
        wait_until(lambda: not set(victims) & set(network.pids_in(self.host.namespace)), 10.0)
        self.host.run(["ip", "link", "delete", BRIDGE])
        for entry in (self.host.directory / "run").iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def signal_guest(self, chance: random.Random, number: signal.Signals) -> str:
        qemus = sorted(self.qemus().items())
        if not qemus:
            return ""
        key, pid = chance.choice(qemus)
        _signal(pid, number)
        return key

    def hang(self, chance: random.Random) -> Callable[[], object]:
        self.cloud.signal(self.libvirtd, signal.SIGSTOP)
        return lambda: self.cloud.signal(self.libvirtd, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Fleet:
    """All hosts."""

    def __init__(self, hosts: list[FaultHost]) -> None:
        self.hosts = {host.name: host for host in hosts}

    def start(self) -> None:
        """Start all of them."""
        for host in self.hosts.values():
            host.start()


def make_fleet(cloud: FaultCloud) -> Fleet:
    """The hosts that the cloud's driver asks for, not started."""
    kind = FakeHost if cloud.driver == "fake" else LibvirtHost
    return Fleet([kind(cloud, host) for host in cloud.net.hosts()])


def unmount(directory: Path) -> None:
    """Take away the file systems that hosts of a cloud had below its directory."""
    for line in Path("/proc/mounts").read_text().splitlines():
        place = line.split()[1]
        if place.startswith(f"{directory.resolve()}/"):
            subprocess.run(["umount", "--lazy", place], timeout=20, check=False)
