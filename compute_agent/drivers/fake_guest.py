"""Guests of the fake hypervisor: a state file each, a console log, a mark on the disk.

They run by themselves, whether or not an agent looks: what the clock says is their counter.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from compute_agent.drivers.base import Launch
from compute_agent.keeping import locked, paths_in, write
from paddock.actions import Seen
from paddock.records import GuestSpec, Record

MARK_BYTES = 4096
MAGIC = b"PADDOCK-FAKE "
CONSOLE_LINES = 100


class FakeGuest(Record, frozen=True, kw_only=True):
    """A guest's state.

    :ivar counter: seconds that it ran since its boot, before ``since``
    :ivar since: when it began to run, seconds since 1970; None while it does not
    """

    id: str
    cloud_id: str
    generation: int
    launched_by: str
    disk_generation: int
    seen: Seen
    mark: str
    boots: int
    mac: str
    address: str
    vcpus: int
    memory_mb: int
    counter: float = 0.0
    since: float | None = None

    def age(self) -> float:
        """Seconds that it has run since its boot."""
        return self.counter + (time.time() - self.since if self.since is not None else 0.0)

    def lines(self) -> list[str]:
        """What it printed since it began to run, a line each second."""
        if self.since is None:
            return []
        last, first = int(self.age()), int(self.counter)
        first = max(first, last - CONSOLE_LINES)
        return [
            f"PADDOCK-GUEST mark={self.mark} boots={self.boots} mac={self.mac} "
            f"ip={self.address} counter={counter}"
            for counter in range(first, last + 1)
        ]


class GuestFiles:
    """The guests of one fake host, in a directory.

    :param directory: made when it is not there
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path_of = paths_in(directory)
        directory.mkdir(parents=True, exist_ok=True)

    def lock(self) -> AbstractContextManager[None]:
        """What to hold from loading a guest to saving it."""
        return locked(self._path_of("lock"))

    def load(self, instance_id: str) -> FakeGuest | None:
        """The guest, None when there is none."""
        try:
            return msgspec.json.decode(self._state(instance_id).read_bytes(), type=FakeGuest)
        except FileNotFoundError:
            return None

    def load_all(self) -> list[FakeGuest]:
        """Every guest on the host."""
        guests = (self.load(path.stem) for path in sorted(self._directory.glob("*.json")))
        return [guest for guest in guests if guest is not None]

    def save(self, guest: FakeGuest) -> None:
        """Keep the guest's state."""
        write(self._state(guest.id), msgspec.json.encode(guest))

    def change(self, guest: FakeGuest, seen: Seen) -> FakeGuest:
        """Let the guest become running or stop running, with its clock and its console."""
        self._print(guest)
        since = time.time() if seen is Seen.RUNNING else None
        changed = msgspec.structs.replace(guest, seen=seen, counter=guest.age(), since=since)
        self.save(changed)
        return changed

    def console(self, instance_id: str) -> list[str]:
        """What the guest printed, over all its boots on this host, as far as it is kept."""
        guest = self.load(instance_id)
        return self._kept(instance_id) + (guest.lines() if guest else [])

    def end(self, instance_id: str) -> None:
        """Let the guest end as if its power went; its console stays."""
        if guest := self.load(instance_id):
            self._print(guest)
            self._state(instance_id).unlink(missing_ok=True)

    def forget(self, instance_id: str) -> None:
        """Remove everything of the guest but its disks."""
        self._state(instance_id).unlink(missing_ok=True)
        self._log(instance_id).unlink(missing_ok=True)

    def _print(self, guest: FakeGuest) -> None:
        if lines := guest.lines():
            kept = (self._kept(guest.id) + lines)[-CONSOLE_LINES:]
            write(self._log(guest.id), "\n".join(kept).encode())

    def _kept(self, instance_id: str) -> list[str]:
        try:
            return self._log(instance_id).read_text().splitlines()
        except FileNotFoundError:
            return []

    def _state(self, instance_id: str) -> Path:
        return self._path_of(f"{instance_id}.json")

    def _log(self, instance_id: str) -> Path:
        return self._path_of(f"{instance_id}.console")


def boot(spec: GuestSpec, launch: Launch, disk: Path) -> FakeGuest:
    """A guest that starts from its disk: the mark is taken from the metadata once, then from the
    disk; the boots are counted there."""
    kept = _read_mark(disk)
    mark = kept.get("mark") or " ".join(spec.metadata.get("mark", "").split())
    boots = int(kept.get("boots", 0)) + 1
    _write_mark(disk, {"mark": mark, "boots": boots})
    port = spec.ports[0] if spec.ports else None
    return FakeGuest(
        id=spec.id,
        cloud_id=launch.cloud_id,
        generation=spec.generation,
        launched_by=launch.action_id,
        disk_generation=launch.disk_generation,
        seen=Seen.RUNNING,
        mark=mark,
        boots=boots,
        mac=port.mac if port else "none",
        address=port.address if port else "none",
        vcpus=spec.vcpus,
        memory_mb=spec.memory_mb,
        since=time.time(),
    )


def _read_mark(disk: Path) -> dict[str, Any]:
    with disk.open("rb") as stream:
        stream.seek(-MARK_BYTES, 2)
        block = stream.read().rstrip(b"\0")
    found: dict[str, Any] = json.loads(block[len(MAGIC) :]) if block.startswith(MAGIC) else {}
    return found


def _write_mark(disk: Path, mark: dict[str, Any]) -> None:
    block = MAGIC + json.dumps(mark).encode()
    with disk.open("r+b") as stream:
        stream.seek(-MARK_BYTES, 2)
        stream.write(block.ljust(MARK_BYTES, b"\0"))
