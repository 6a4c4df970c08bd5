"""The libvirt driver: guests of one host on QEMU or KVM."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from oslo_config import cfg

from compute_agent.disk_source import disk_sources, store_uri
from compute_agent.disks import DiskStore
from compute_agent.drivers.base import (
    DiskMover,
    Driver,
    Launch,
    LiveMigratable,
    Pausable,
    Suspendable,
    Work,
    capabilities_of,
)
from compute_agent.drivers.libvirt import embed, facts, probe
from compute_agent.drivers.libvirt.connection import Connection, is_embedded
from compute_agent.drivers.libvirt.console import Consoles
from compute_agent.drivers.libvirt.guest import (
    Guest,
    Look,
    Starts,
    look_at_all,
    look_if_there,
    prefix_of,
)
from compute_agent.drivers.libvirt.launcher import Launcher, Place
from compute_agent.drivers.libvirt.network import Bridge, BridgeNetwork, UserNetwork
from compute_agent.drivers.libvirt.notes import Notes
from compute_agent.drivers.libvirt.probe import Measured, Probe
from compute_agent.drivers.libvirt.sending import Manner, Sender
from compute_agent.images import image_cache
from paddock.actions import Seen
from paddock.errors import GuestGone, GuestHung, HypervisorError
from paddock.records import DiskSource, Found, GuestSpec, HostFacts, Landing

POLL = 0.1
PRESS_AGAIN = 4.0


class LibvirtDriver(Driver, Pausable, Suspendable, DiskMover, LiveMigratable):
    """Guests through libvirt, at ``libvirt.uri``.

    Domains are named after the cloud, the host and the instance, so several hosts may share one
    hypervisor (and several drivers one process). All that it keeps lies under ``state_path``.

    :param conf: groups ``compute`` and ``libvirt``, ``host`` and ``state_path``
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        root = Path(conf.state_path).resolve()
        self._conf = conf
        self._state = (embed.root_of(conf.libvirt.uri) or root) / probe.CACHE
        self._images = image_cache(conf, root / "images")
        self._disks = DiskStore(root / "disks", self._images)
        self._sources = disk_sources(conf, self._disks)
        self._consoles = Consoles(root / "guests")
        self._notes = Notes(conf.host)
        self._connection = Connection(conf.libvirt.uri, conf.libvirt.call_timeout, self._notes.put)
        self._probe = Probe(self._connection, root / "probe", conf.libvirt.machine)
        self._known: Measured | None = None
        self._network = self._make_network(root / "network.lock")
        self._launcher = Launcher(
            Place(
                host=conf.host,
                machine=conf.libvirt.machine,
                virt_type=lambda: self._measured().virt_type,
                disks=self._disks,
                images=self._images,
                consoles=self._consoles,
                network=self._network,
            )
        )
        self._starts = Starts()
        self._manner = _manner(conf, root)
        self._cloud_id = ""
        self._prefix = ""

    def connect(self, cloud_id: str, on_change: Callable[[str, Seen], None]) -> None:
        """See the base."""
        self._cloud_id, self._prefix = cloud_id, prefix_of(cloud_id, self._conf.host)
        self._connection.listen(lambda domain: self._tell(domain, on_change))
        self._disks.clear()
        self._images.clear()
        self._measured()
        self._network.ensure()

    def close(self) -> None:
        """See the base."""
        self._connection.close()
        self._notes.close()

    def facts(self) -> HostFacts:
        """See the base; the first time it opens the hypervisor and may run the probe guest.

        Console logs that have grown large are cut on the way, also while no conductor answers.
        """
        self._consoles.trim()
        measured = self._measured()
        store = store_uri(self._conf, self._disks.root)
        proved = {*measured.capabilities, DiskMover.name if store else ""}
        proved |= {LiveMigratable.name if self._manner else ""}
        capabilities = [name for name in capabilities_of(self) if name in proved]
        told = facts.collect(self._conf, self._disks, measured, capabilities, store)
        landing = str(self._manner.root) if self._manner else ""
        return msgspec.structs.replace(told, landing=landing)

    def found(self) -> list[Found]:
        """See the base."""
        starting = {name.removeprefix(self._prefix) for name in self._starts.names()}
        looks = self._connection.call(lambda conn: look_at_all(conn, self._prefix))
        disks = self._disks.list()
        starting |= {instance_id for instance_id, look in looks.items() if look.starting}
        return [
            _found(key, looks.get(key), disks.get(key, []), key in starting)
            for key in sorted(looks.keys() | disks.keys() | starting)
        ]

    def seen(self, instance_id: str) -> Seen:
        """See the base."""
        domain = self._guest(instance_id)
        look = domain.look()
        if self._manner and look and look.active and domain.is_leaving():
            raise GuestHung(f"The guest {instance_id} is on its way to another host.")
        return look.seen if look else Seen.GONE

    def launched_by(self, instance_id: str) -> str | None:
        """See the base."""
        look = self._guest(instance_id).settled()
        return look.marks.launched_by if look and look.active and look.marks else None

    def launch(self, guest: GuestSpec, launch: Launch) -> None:
        """See the base."""
        self._launcher.launch(self._guest(guest.id), guest, launch)

    def shut_down(self, instance_id: str, wait: float, work: Work) -> None:
        """See the base."""
        domain = self._guest(instance_id)
        look = domain.settled()
        if look is None:
            return
        if look.seen is Seen.SAVED:
            domain.drop_saved()
        elif look.seen is Seen.RUNNING and self._ask(domain, wait, work):
            return
        elif look.seen is not Seen.OFF:
            domain.force_off()

    def release(self, instance_id: str) -> None:
        """See the base. HypervisorError when the guest still runs."""
        domain = self._guest(instance_id)
        look = domain.look()
        if look is not None and look.active:
            raise HypervisorError(f"The guest {instance_id} still runs.")
        domain.undefine()
        self._network.unplug(instance_id)

    def destroy(self, instance_id: str, below: int | None) -> None:
        """See the base."""
        domain = self._guest(instance_id)
        look = domain.look()
        if look is not None and _is_below(look, below):
            if look.active or look.starting:
                domain.force_off()
            domain.undefine()
            look = None
        self._disks.remove(instance_id, below)
        if look is None:
            self._network.unplug(instance_id)
            if not self._disks.generations(instance_id):
                self._consoles.remove(instance_id)

    def console(self, instance_id: str, length: int | None) -> str:
        """See the base."""
        return self._consoles.read(instance_id, length)

    def pause(self, instance_id: str) -> None:
        """See the base."""
        domain = self._guest(instance_id)
        if _active(domain.settled(), instance_id).seen is Seen.RUNNING:
            domain.pause()

    def unpause(self, instance_id: str) -> None:
        """See the base."""
        domain = self._guest(instance_id)
        if _active(domain.settled(), instance_id).seen is Seen.PAUSED:
            domain.unpause()

    def suspend(self, instance_id: str, work: Work) -> None:
        """See the base."""
        domain = self._guest(instance_id)
        look = domain.settled()
        if look is not None and look.seen is Seen.SAVED:
            return
        _active(look, instance_id)
        task = domain.save()
        while not task.done(POLL):
            try:
                work.check()
                self._tell_progress(domain, work)
            except Exception:
                domain.abort_job()
                task.done(self._connection.seconds)
                raise
        task.result(0)

    def resume(self, guest: GuestSpec, launch: Launch) -> None:
        """See the base."""
        self._launcher.resume(self._guest(guest.id), guest, launch)

    def fetch(self, guest: GuestSpec, source: DiskSource, generation: int, work: Work) -> None:
        """See the base."""
        self._sources.bring(guest, source, generation, work)

    def open_disk(self, instance_id: str, generation: int) -> BinaryIO:
        """See the base."""
        return self._disks.open(instance_id, generation)

    def receive(self, guest: GuestSpec, generation: int, work: Work) -> None:
        """See the base."""
        self._disks.create_from_image(guest.id, generation, None, guest.disk_gb, work)
        self._launcher.equip(guest, work)

    def send(self, guest: GuestSpec, landing: Landing, launch: Launch) -> None:
        """See the base."""
        if self._manner is None:
            raise HypervisorError("Guests do not leave this host while they run.")
        Sender(self._manner, self._guest(guest.id), guest).send(landing, launch)

    def arrive(self, guest: GuestSpec) -> None:
        """See the base."""
        look = self._guest(guest.id).look()
        marks = look.marks if look and not look.starting else None
        if marks is None or marks.generation != guest.generation:
            raise GuestGone(f"The guest {guest.id} has not come.")

    def _ask(self, domain: Guest, wait: float, work: Work) -> bool:
        """Ask the guest to shut down until it has, or ``wait`` seconds are over."""
        end = time.monotonic() + wait
        press_at = time.monotonic()
        while time.monotonic() < end:
            work.check()
            if time.monotonic() >= press_at:
                with contextlib.suppress(HypervisorError):  # it may just have gone
                    domain.press_power_button()
                press_at = time.monotonic() + PRESS_AGAIN
            time.sleep(POLL)
            look = domain.look()
            if look is None or not look.active:
                return True
        return False

    def _tell_progress(self, domain: Guest, work: Work) -> None:
        try:
            work.progress(*domain.job())
        except GuestHung:
            raise
        except HypervisorError:  # the job has just ended
            return

    def _guest(self, instance_id: str) -> Guest:
        return Guest(self._connection, self._prefix + instance_id, self._starts)

    def _measured(self) -> Measured:
        if self._known is None:
            self._known = self._probe.measure(self._conf.libvirt.virt_type, self._state)
            self._notes.put(f"guests run on {self._known.why}")
        return self._known

    def _tell(self, domain: Any, on_change: Callable[[str, Seen], None]) -> None:
        name = domain.name()
        if not name.startswith(self._prefix):
            return
        look = look_if_there(domain)
        on_change(name.removeprefix(self._prefix), look.seen if look else Seen.GONE)

    def _make_network(self, lock: Path) -> UserNetwork:
        options = self._conf.libvirt
        if options.network == "user":
            return UserNetwork()
        if not options.bridge_address:
            raise HypervisorError("libvirt.bridge_address must be this host's own on the bridge.")
        bridge = Bridge(options.bridge, options.bridge_address, options.gateway, options.uplink)
        return BridgeNetwork(self._connection, bridge, lock)


def _manner(conf: cfg.ConfigOpts, root: Path) -> Manner | None:
    """How guests are handed over; None where they are not."""
    compute, options = conf.compute, conf.libvirt
    if not (compute.live_migration and options.migration_pki_path):
        return None
    if options.network != "bridge" or is_embedded(options.uri):
        return None
    return Manner(
        root=root,
        pki=Path(options.migration_pki_path),
        downtime=compute.live_migration_downtime,
        patience=compute.live_migration_timeout,
        late=compute.live_migration_timeout_action,
    )


def _found(instance_id: str, look: Look | None, disks: list[int], starting: bool) -> Found:
    marks = look.marks if look else None
    return Found(
        instance_id=instance_id,
        generation=marks.generation if marks else None,
        launched_by=marks.launched_by if marks else None,
        seen=look.seen if look else Seen.GONE,
        disks=disks,
        worked_on=starting,
    )


def _active(look: Look | None, instance_id: str) -> Look:
    if look is None or not look.active:
        raise GuestGone(f"The guest {instance_id} does not run here.")
    return look


def _is_below(look: Look, below: int | None) -> bool:
    return below is None or look.marks is None or look.marks.generation < below
