"""The one place that launches guests."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from compute_agent.disks import DiskStore, readable
from compute_agent.drivers.base import Launch, Work
from compute_agent.drivers.libvirt import xml
from compute_agent.drivers.libvirt.console import Consoles
from compute_agent.drivers.libvirt.guest import Guest, Look
from compute_agent.drivers.libvirt.network import UserNetwork
from compute_agent.drivers.libvirt.xml import Machine, Marks
from compute_agent.images import ImageCache
from paddock.actions import Seen
from paddock.errors import GuestGone, GuestHung, HypervisorError, PaddockError
from paddock.records import GuestSpec

LOAD_RATE = 100
"""MiB of saved memory that a host reads in a second at the least."""


@dataclass(frozen=True)
class Place:
    """What guests of a host are launched with.

    :ivar virt_type: says ``kvm`` or ``qemu``
    """

    host: str
    machine: str
    virt_type: Callable[[], str]
    disks: DiskStore
    images: ImageCache
    consoles: Consoles
    network: UserNetwork


class Launcher:
    """Has guests running, from their disk or from their saved memory."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._cache = cache_mode(place.disks.root)

    def launch(self, domain: Guest, guest: GuestSpec, launch: Launch) -> None:
        """See :meth:`compute_agent.drivers.base.Driver.launch`."""
        there = domain.settled()
        if there is not None and there.active:
            if _is_wanted(there, guest, launch):
                _run_on(domain, there, launch)
                return
            domain.force_off()
        if there is not None:
            domain.undefine()
        with ExitStack() as undo:
            try:
                self._launch(domain, guest, launch, undo)
            except GuestHung:
                # It may start later on: whoever looks then decides, with the disk still there.
                undo.pop_all()
                raise
            undo.pop_all()

    def resume(self, domain: Guest, guest: GuestSpec, launch: Launch) -> None:
        """See :meth:`compute_agent.drivers.base.Suspendable.resume`."""
        there = domain.settled()
        if there is not None and there.active:
            _run_on(domain, there, launch)
            return
        if there is None or there.seen is not Seen.SAVED or there.marks is None:
            raise GuestGone(f"The guest {guest.id} has no saved memory here.")
        self._place.network.plug(guest)
        domain.mark_saved(replace(there.marks, launched_by=launch.action_id))
        launch.may_launch()
        domain.start(guest.memory_mb / LOAD_RATE)

    def equip(self, guest: GuestSpec, work: Work) -> None:
        """Have all here that a guest needs which comes running, but its disk."""
        self._place.consoles.path(guest.id)
        self._place.network.plug(guest)
        if guest.boot is not None:
            for image in (guest.boot.kernel, guest.boot.ramdisk):
                if image is not None:
                    self._place.images.file(image, work)

    def _launch(self, domain: Guest, guest: GuestSpec, launch: Launch, undo: ExitStack) -> None:
        disk = self._have_disk(guest, launch, undo)
        machine = self._describe(domain, guest, disk, launch.work)
        marks = Marks(
            cloud_id=launch.cloud_id,
            host=self._place.host,
            instance_id=guest.id,
            generation=guest.generation,
            launched_by=launch.action_id,
            disk_generation=launch.disk_generation,
        )
        undo.callback(_suppressed, self._place.network.unplug, guest.id)
        self._place.network.plug(guest)
        undo.callback(_suppressed, domain.undefine)
        domain.define(
            lambda uuid: xml.domain_xml(guest, marks, replace(machine, uuid=uuid)), guest.id
        )
        launch.may_launch()
        try:
            domain.start()
        except HypervisorError:
            if _may_run(domain):
                undo.pop_all()
            raise

    def _have_disk(self, guest: GuestSpec, launch: Launch, undo: ExitStack) -> Path:
        disks, generation = self._place.disks, launch.disk_generation
        disk = disks.path(guest.id, generation)
        if not disk.exists():
            if guest.image is None:
                raise HypervisorError(
                    f"The disk of {guest.id} (generation {generation}) is not here."
                )
            undo.callback(disk.unlink, missing_ok=True)
            disks.create_from_image(guest.id, generation, guest.image, guest.disk_gb, launch.work)
        with readable(f"Protecting the disk of {guest.id}"):
            disk.chmod(0o600)
        return disk

    def _describe(self, domain: Guest, guest: GuestSpec, disk: Path, work: Work) -> Machine:
        place, boot = self._place, guest.boot
        return Machine(
            name=domain.name,
            uuid=guest.id,
            virt_type=place.virt_type(),
            arch=os.uname().machine,
            machine=place.machine,
            network=place.network.kind,
            disk=disk,
            cache=self._cache,
            console=place.consoles.path(guest.id),
            kernel=place.images.file(boot.kernel, work) if boot else None,
            ramdisk=place.images.file(boot.ramdisk, work) if boot and boot.ramdisk else None,
        )


def cache_mode(directory: Path) -> str:
    """QEMU's cache mode for disks there: without the host's page cache where that can be."""
    with tempfile.NamedTemporaryFile(dir=directory) as stream:
        try:
            os.close(os.open(stream.name, os.O_RDWR | os.O_DIRECT))
        except OSError:
            return "writeback"
    return "none"


def _is_wanted(there: Look, guest: GuestSpec, launch: Launch) -> bool:
    marks = there.marks
    return marks is not None and (marks.generation, marks.disk_generation) == (
        guest.generation,
        launch.disk_generation,
    )


def _may_run(domain: Guest) -> bool:
    """Whether a guest whose start failed runs after all, as when libvirt died before it said so."""
    try:
        look = domain.look()
    except HypervisorError:
        return True
    return look is not None and look.active


def _run_on(domain: Guest, there: Look, launch: Launch) -> None:
    if there.seen is Seen.PAUSED:
        launch.may_launch()
        domain.unpause()


def _suppressed(function: Callable[..., object], *arguments: object) -> None:
    """Undo what can be undone: what failed is the error to tell."""
    with contextlib.suppress(PaddockError):
        function(*arguments)
