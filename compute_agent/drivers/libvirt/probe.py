"""What the hypervisor really does, found out with a guest of 512 bytes.

That a device node for KVM is there, and even answers, does not mean that a guest runs on it. So a
boot sector that prints one word on its serial port is started from a disk; only a guest that was
heard in time counts. The same guest is then paused and saved, which measures the capabilities.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from compute_agent.drivers.base import Pausable, Suspendable
from compute_agent.drivers.libvirt import xml
from compute_agent.drivers.libvirt.connection import Connection
from compute_agent.drivers.libvirt.guest import remove
from paddock.errors import HypervisorError

CACHE = "hypervisor.json"
KVM = "kvm"
QEMU = "qemu"
FIRST_SECONDS = 90.0
"""For the first answer of a libvirt that is new: it asks every emulator what that can do."""
KVM_SECONDS = 5.0
QEMU_SECONDS = 30.0
POLL = 0.05
WORD = b"PADDOCK-PROBE"
KVM_DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DISK_BYTES = 1024**2


def boot_sector() -> bytes:
    """A program for the BIOS that does a little of what a kernel does, then prints WORD.

    It builds page tables, enters 64-bit mode and counts down from 100 million there (0.3 s under
    emulation): a KVM that runs the BIOS may hang there, or be slower than emulation. Then it
    prints on the first serial port and halts.
    """
    code = bytes.fromhex(
        "fa fc 31c0 8ed8 8ec0"  # cli; cld; ds = es = 0
        "bf0010 b90018 f3ab"  # clear three pages from 0x1000 on
        "c70600100320 c70600200330 c606003083"  # the first 2 MiB map to themselves
        "66b800100000 0f22d8"  # cr3 = 0x1000
        "0f20e0 0c20 0f22e0"  # cr4 |= PAE
        "66b9800000c0 0f32 80cc01 0f30"  # efer |= LME
        "0f0116907c"  # lgdt
        "0f20c0 660d01000080 0f22c0"  # cr0 |= PG, PE
        "ea557c0800"  # go on in 64-bit mode
        "b900e1f505 ffc9 75fc"  # count down
        "be967c0000"  # rsi = the word's address
        "ac 84c0 7414 88c4"  # next: al = [rsi++]; if 0 go to end
        "66bafd03 ec a820 74fb"  # wait until the port can send
        "66baf803 88e0 ee ebe7"  # send; go to next
        "f4 ebfd"  # end: halt
        "90"
        "0000000000000000 00000000009a2000 0f00 807c0000"  # the descriptor table
    )
    return (code + WORD + b"\r\n\0").ljust(510, b"\0") + b"\x55\xaa"


class Measured(msgspec.Struct, frozen=True):
    """What was found out.

    :ivar key: of all that the result depends on; with another key it is measured again
    :ivar version: the hypervisor's, as an integer, libvirt's way
    :ivar virt_type: ``kvm`` or ``qemu``
    :ivar why: one sentence for the log
    :ivar capabilities: names of those that the probe guest proved
    """

    key: str
    version: int
    virt_type: str
    why: str
    capabilities: list[str]


@dataclass(frozen=True)
class Probe:
    """The probe guest of one host.

    :param directory: where its disk and output lie meanwhile, as the guests' will
    :param machine: QEMU's machine type
    """

    connection: Connection
    directory: Path
    machine: str

    def measure(self, wanted: str, cache: Path) -> Measured:
        """Measure, or take what was measured before on this host as it is now.

        :param wanted: ``auto``, ``kvm`` or ``qemu``
        :param cache: file of the last result
        :raises HypervisorError: no guest runs
        """
        version = self.connection.call(lambda conn: conn.getVersion(), FIRST_SECONDS)
        key = self._key(wanted, version)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            known = msgspec.json.decode(cache.read_bytes(), type=Measured)
            if known.key == key:
                return known
        virt_type, why, capabilities = self._choose(wanted)
        measured = Measured(key, version, virt_type, why, capabilities)
        cache.write_bytes(msgspec.json.encode(measured))
        return measured

    def run(self, virt_type: str, seconds: float) -> list[str]:
        """Start the guest and hear it.

        :returns: names of the capabilities that it showed
        :raises HypervisorError: it could not be started, or was not heard within ``seconds``
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        disk, output = self.directory / "probe.raw", self.directory / "probe.log"
        with disk.open("wb") as stream:
            stream.write(boot_sector())
            stream.truncate(DISK_BYTES)
        output.unlink(missing_ok=True)
        document = xml.probe_xml(
            self._name, virt_type, os.uname().machine, self.machine, disk, output
        )
        try:
            self.connection.call(lambda conn: _start(conn, self._name, document))
            _wait_for_word(output, seconds)
            return self._capabilities()
        finally:
            self.connection.call(lambda conn: remove(conn, self._name))
            disk.unlink(missing_ok=True)
            output.unlink(missing_ok=True)

    def _choose(self, wanted: str) -> tuple[str, str, list[str]]:
        if wanted == QEMU:
            return QEMU, "software emulation, as configured", self.run(QEMU, QEMU_SECONDS)
        if wanted == KVM:
            return KVM, "KVM, as configured", self.run(KVM, QEMU_SECONDS)
        if not KVM_DEVICE.exists():
            why = f"software emulation, because there is no {KVM_DEVICE}"
            return QEMU, why, self.run(QEMU, QEMU_SECONDS)
        try:
            return KVM, "KVM, proved by a probe guest", self.run(KVM, KVM_SECONDS)
        except HypervisorError as error:
            why = f"software emulation, because the probe guest under KVM failed: {error}"
            return QEMU, why, self.run(QEMU, QEMU_SECONDS)

    def _capabilities(self) -> list[str]:
        tries: dict[str, Callable[[Any], object]] = {
            Pausable.name: lambda domain: (domain.suspend(), domain.resume()),
            Suspendable.name: lambda domain: (domain.managedSave(), domain.create()),
        }
        return [name for name, attempt in tries.items() if self._shows(attempt)]

    def _shows(self, attempt: Callable[[Any], object]) -> bool:
        try:
            self.connection.call(lambda conn: attempt(conn.lookupByName(self._name)))
        except HypervisorError:
            return False
        return True

    @property
    def _name(self) -> str:
        place = str(self.directory.resolve())
        return f"paddock-probe-{hashlib.sha256(place.encode()).hexdigest()[:8]}"

    def _key(self, wanted: str, version: int) -> str:
        parts = (self.connection.uri, self.machine, wanted, version, KVM_DEVICE.exists(),
                 BOOT_ID.read_text().strip())  # fmt: skip
        return " ".join(str(part) for part in parts)


def _start(conn: Any, name: str, document: str) -> None:
    remove(conn, name)
    conn.defineXML(document).create()


def _wait_for_word(output: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not (output.exists() and WORD in output.read_bytes()):
        if time.monotonic() > deadline:
            raise HypervisorError(f"the probe guest said nothing within {seconds:g} s")
        time.sleep(POLL)
