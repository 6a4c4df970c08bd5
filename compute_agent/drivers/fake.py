"""A hypervisor without guests: honest about states, which it keeps in files.

Disks are real small files, so a move between two fake hosts moves bytes. Tests make it fail, hang
or be slow through :class:`compute_agent.drivers.fake_control.FakeControl`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import msgspec
from oslo_config import cfg

from compute_agent.disk_source import disk_sources, store_uri
from compute_agent.disks import DiskStore, readable
from compute_agent.drivers.base import (
    UNWATCHED,
    DiskMover,
    Driver,
    Launch,
    LiveMigratable,
    Pausable,
    Suspendable,
    Work,
    capabilities_of,
)
from compute_agent.drivers.fake_control import FakeControl
from compute_agent.drivers.fake_guest import FakeGuest, GuestFiles, boot
from compute_agent.drivers.fake_move import hand_over, needs_handing_over
from compute_agent.images import image_cache
from paddock.actions import Seen
from paddock.errors import GuestGone, HypervisorError
from paddock.records import DiskSource, Found, GuestSpec, HostFacts, Landing, Resources

VCPUS = 16
MEMORY_MB = 32768
DISK_GB = 500
CONSOLE_BYTES = 1024**2
TICK = 0.05


class FakeDriver(Driver, Pausable, Suspendable, DiskMover, LiveMigratable):
    """The fake hypervisor of one host.

    :param conf: ``state_path`` is where its guests, disks and orders lie; ``fake.delay`` is how
        long each change takes; figures come from ``compute`` or are made up
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        root = Path(conf.state_path).resolve() / "fake"
        self._images = image_cache(conf, root / "images")
        self._conf = conf
        self._root = root
        self._guests = GuestFiles(root / "guests")
        self._disks = DiskStore(root / "disks", self._images)
        self._sources = disk_sources(conf, self._disks)
        self._on_change: Callable[[str, Seen], None] = lambda _instance_id, _seen: None
        self._cloud_id = ""
        self.control = FakeControl(root)

    def connect(self, cloud_id: str, on_change: Callable[[str, Seen], None]) -> None:
        """See the base."""
        self._behave("connect")
        self._disks.clear()
        self._images.clear()
        self._cloud_id, self._on_change = cloud_id, on_change

    def close(self) -> None:
        """See the base."""

    def facts(self) -> HostFacts:
        """See the base."""
        self._behave("facts")
        compute, lacks = self._conf.compute, set(self.control.orders().lacks)
        store = store_uri(self._conf, self._disks.root)
        lacks |= {"" if store else DiskMover.name}
        live = compute.live_migration and store.startswith("file:")
        lacks |= {"" if live else LiveMigratable.name}
        return HostFacts(
            resources=Resources(
                vcpus=compute.vcpus or VCPUS,
                memory_mb=compute.memory_mb or MEMORY_MB,
                disk_gb=compute.disk_gb or DISK_GB,
            ),
            capabilities=[name for name in capabilities_of(self) if name not in lacks],
            version=version("paddock"),
            hypervisor_type="fake",
            hypervisor_version=1000000,
            uptime=int(float(Path("/proc/uptime").read_text().split()[0])),
            address=compute.address,
            store=store,
            landing=str(self._root) if live else "",
        )

    def found(self) -> list[Found]:
        """See the base."""
        self._behave("found")
        disks = self._disks.list()
        guests = {guest.id: guest for guest in self._guests.load_all()}
        foreign = {id for id, guest in guests.items() if guest.cloud_id != self._cloud_id}
        return [
            _found(instance_id, guests.get(instance_id), disks.get(instance_id, []))
            for instance_id in sorted((guests.keys() | disks.keys()) - foreign)
        ]

    def seen(self, instance_id: str) -> Seen:
        """See the base."""
        self._behave("seen", instance_id)
        guest = self._guests.load(instance_id)
        return guest.seen if guest else Seen.GONE

    def launched_by(self, instance_id: str) -> str | None:
        """See the base."""
        self._behave("launched_by", instance_id)
        guest = self._guests.load(instance_id)
        return guest.launched_by if guest and guest.seen in (Seen.RUNNING, Seen.PAUSED) else None

    def launch(self, guest: GuestSpec, launch: Launch) -> None:
        """See the base."""
        self._behave("launch", guest.id)
        disk = self._disks.path(guest.id, launch.disk_generation)
        made = not disk.exists()
        if made:
            if guest.image is None:
                raise HypervisorError(
                    f"The disk of {guest.id} (generation {launch.disk_generation}) is not here."
                )
            self._disks.create_from_image(
                guest.id, launch.disk_generation, guest.image, guest.disk_gb, launch.work
            )
        try:
            self._start(guest, launch, disk)
        except BaseException:
            if made:
                disk.unlink(missing_ok=True)
            raise

    def _start(self, guest: GuestSpec, launch: Launch, disk: Path) -> None:
        with self._guests.lock():
            there = self._guests.load(guest.id)
            if there and there.generation < guest.generation:
                self._guests.end(guest.id)
                there = None
            if there and there.seen is Seen.RUNNING:
                return
            launch.may_launch()
            if there and there.seen is Seen.PAUSED:
                self._guests.change(there, Seen.RUNNING)
            else:
                with readable(f"Starting {guest.id}"):
                    self._guests.save(boot(guest, launch, disk))

    def shut_down(self, instance_id: str, wait: float, work: Work) -> None:
        """See the base."""
        guest = self._guests.load(instance_id)
        asked = guest is not None and guest.seen is Seen.RUNNING
        self._behave("shut_down", instance_id, work, longest=wait if asked else 0.0)
        with self._guests.lock():
            guest = self._guests.load(instance_id)
            if guest and guest.seen is not Seen.OFF:
                self._guests.change(guest, Seen.OFF)

    def release(self, instance_id: str) -> None:
        """See the base."""
        self._behave("release", instance_id)
        with self._guests.lock():
            there = self._guests.load(instance_id)
            if there and there.seen is Seen.RUNNING:
                raise HypervisorError(f"The guest {instance_id} still runs.")
            self._guests.end(instance_id)

    def destroy(self, instance_id: str, below: int | None) -> None:
        """See the base."""
        self._behave("destroy", instance_id)
        with self._guests.lock():
            guest = self._guests.load(instance_id)
            if below is None or (guest and guest.generation < below):
                self._guests.forget(instance_id)
                guest = None
            self._disks.remove(instance_id, below)
            if guest is None and not self._disks.generations(instance_id):
                self._guests.forget(instance_id)

    def console(self, instance_id: str, length: int | None) -> str:
        """See the base."""
        self._behave("console", instance_id)
        lines = self._guests.console(instance_id)
        text = "".join(f"{line}\n" for line in (lines[-length:] if length else lines))
        return text[-CONSOLE_BYTES:]

    def pause(self, instance_id: str) -> None:
        """See the base."""
        self._behave("pause", instance_id)
        self._move(instance_id, {Seen.RUNNING}, Seen.PAUSED)

    def unpause(self, instance_id: str) -> None:
        """See the base."""
        self._behave("unpause", instance_id)
        self._move(instance_id, {Seen.PAUSED}, Seen.RUNNING)

    def suspend(self, instance_id: str, work: Work) -> None:
        """See the base."""
        self._behave("suspend", instance_id, work)
        self._move(instance_id, {Seen.RUNNING, Seen.PAUSED}, Seen.SAVED)

    def resume(self, guest: GuestSpec, launch: Launch) -> None:
        """See the base."""
        self._behave("resume", guest.id)
        self._move(guest.id, {Seen.SAVED, Seen.PAUSED}, Seen.RUNNING, launch)

    def fetch(self, guest: GuestSpec, source: DiskSource, generation: int, work: Work) -> None:
        """See the base."""
        self._behave("fetch", guest.id, work)
        self._sources.bring(guest, source, generation, work)

    def open_disk(self, instance_id: str, generation: int) -> BinaryIO:
        """See the base."""
        self._behave("open_disk", instance_id)
        return self._disks.open(instance_id, generation)

    def receive(self, guest: GuestSpec, generation: int, work: Work) -> None:
        """See the base."""
        self._behave("receive", guest.id, work)
        self._disks.create_from_image(guest.id, generation, None, guest.disk_gb, work)

    def send(self, guest: GuestSpec, landing: Landing, launch: Launch) -> None:
        """See the base. The other host's directory is on this machine."""
        self._behave("send", guest.id, launch.work)
        there = Path(landing.directory)
        if needs_handing_over(self._guests, GuestFiles(there / "guests"), guest.id):
            hand_over(self._guests, self._disks, there, guest.id, launch)

    def arrive(self, guest: GuestSpec) -> None:
        """See the base."""
        self._behave("arrive", guest.id)
        if self._guest(guest.id).generation != guest.generation:
            raise GuestGone(f"The guest {guest.id} has not come.")

    def happen(self, instance_id: str, seen: Seen) -> None:
        """Let a guest change by itself (shut down from inside, crash), as a hypervisor tells."""
        with self._guests.lock():
            self._guests.change(self._guest(instance_id), seen)
        self._on_change(instance_id, seen)

    def _move(
        self, instance_id: str, before: set[Seen], after: Seen, launch: Launch | None = None
    ) -> None:
        with self._guests.lock():
            guest = self._guest(instance_id)
            if guest.seen is after:
                return
            if guest.seen not in before:
                raise GuestGone(f"The guest {instance_id} is {guest.seen}.")
            if launch:
                launch.may_launch()
                guest = msgspec.structs.replace(guest, launched_by=launch.action_id)
            self._guests.change(guest, after)

    def _guest(self, instance_id: str) -> FakeGuest:
        guest = self._guests.load(instance_id)
        if guest is None:
            raise GuestGone(f"The guest {instance_id} is not on this host.")
        return guest

    def _behave(
        self, method: str, instance_id: str = "", work: Work = UNWATCHED,
        longest: float | None = None,
    ) -> None:  # fmt: skip
        """Be slow, hang or fail as told; ``longest`` bounds the delay, not the hanging."""
        how = self.control.take(method, instance_id)
        changes = method not in ("connect", "facts", "found", "seen", "launched_by", "console")
        delay = how.delay + (self._conf.fake.delay if changes else 0.0)
        until = time.monotonic() + min(delay, delay if longest is None else longest)
        while time.monotonic() < until or (
            how.hang and self.control.find(method, instance_id).hang
        ):
            work.check()
            time.sleep(TICK)
        if how.fail:
            raise HypervisorError(how.fail)


def _found(instance_id: str, guest: FakeGuest | None, disks: list[int]) -> Found:
    return Found(
        instance_id=instance_id,
        generation=guest.generation if guest else None,
        launched_by=guest.launched_by if guest else None,
        seen=guest.seen if guest else Seen.GONE,
        disks=disks,
    )
