"""One domain: what it is, and the few things that are done to it."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import libvirt

from compute_agent.drivers.libvirt import xml
from compute_agent.drivers.libvirt.connection import Connection, Task
from compute_agent.drivers.libvirt.elsewhere import targets_of
from compute_agent.drivers.libvirt.xml import Marks
from paddock.actions import Seen
from paddock.errors import GuestGone, GuestHung

T = TypeVar("T")
UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
ENDED_BADLY = {
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED,
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED,
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED,
    libvirt.VIR_DOMAIN_SHUTOFF_DAEMON,
}
CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
COMING = (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)
POLL = 0.1
STOPPED = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_NOSTATE)


def prefix_of(cloud_id: str, host: str) -> str:
    """What the names of a host's domains begin with.

    Hosts of one process share a hypervisor in the embedded profile, so the name tells them apart.
    """
    digest = hashlib.sha256(f"{cloud_id}/{host}".encode()).hexdigest()
    return f"paddock-{digest[:8]}-"


@dataclass(frozen=True)
class Look:
    """What a look at a domain showed.

    :ivar marks: None when its metadata is not ours
    :ivar starting: whether it does not run yet, but libvirt is about to have it run, perhaps when
        it has come from another host
    """

    seen: Seen
    marks: Marks | None
    starting: bool = False

    @property
    def active(self) -> bool:
        """Whether it has memory and processors."""
        return self.seen in (Seen.RUNNING, Seen.PAUSED)


def look_at(domain: Any) -> Look:
    """Look at a domain of libvirt's; called in a native thread."""
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.PADDOCK)
        marks = xml.read_marks(text)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            raise
        marks = None
    state, reason = domain.state()
    seen = _seen(domain, state, reason, marks is not None and marks.forced)
    return Look(seen, marks, _is_starting(domain, state, reason))


def _is_starting(domain: Any, state: int, reason: int) -> bool:
    if state == libvirt.VIR_DOMAIN_SHUTOFF:
        return bool(domain.isActive())
    return state == libvirt.VIR_DOMAIN_PAUSED and reason in COMING and _is_coming(domain)


def _is_coming(domain: Any) -> bool:
    """Whether an active domain of libvirt's waits for another host."""
    try:
        return bool(domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        return bool(domain.isActive())  # only the source has figures


def look_if_there(domain: Any) -> Look | None:
    """As :func:`look_at`; None when the domain has just gone."""
    try:
        return look_at(domain)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None


def look_at_all(conn: Any, prefix: str) -> dict[str, Look]:
    """Look at every domain whose name begins with ``prefix``; called in a native thread.

    :returns: by the rest of the name. All or an error: what is left out here counts as gone
    """
    looks = {}
    for domain in conn.listAllDomains():
        name = domain.name()
        if name.startswith(prefix) and (look := look_if_there(domain)):
            looks[name.removeprefix(prefix)] = look
    return looks


def _seen(domain: Any, state: int, reason: int, forced: bool) -> Seen:
    if state == libvirt.VIR_DOMAIN_PAUSED:
        return Seen.PAUSED
    if state not in STOPPED:
        return Seen.RUNNING
    if domain.hasManagedSaveImage():
        return Seen.SAVED
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return Seen.CRASHED
    # The reason is forgotten when libvirt restarts; then a guest counts as shut down.
    return Seen.CRASHED if reason in ENDED_BADLY and not forced else Seen.OFF


def _end_job(domain: Any) -> bool:
    """Have the job that goes on ended, which takes a moment; False when none does."""
    try:
        if domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE:
            return False
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:  # it does not run
            return False
        raise
    with contextlib.suppress(libvirt.libvirtError):  # it is about to end, or cannot be
        domain.abortJob()
    return True


def remove(conn: Any, name: str) -> None:
    """End a domain and forget it, if it is there; called in a native thread."""
    try:
        domain = conn.lookupByName(name)
    except libvirt.libvirtError:
        return
    with contextlib.suppress(libvirt.libvirtError):
        domain.destroy()
    domain.undefineFlags(UNDEFINE)


class Starts:
    """Starts of guests that libvirt has not answered, though nobody waits for them any more.

    Used from native threads, so without a lock.
    """

    def __init__(self) -> None:
        self._hung: set[tuple[str, Task[None]]] = set()

    def wait(self, name: str, task: Task[None], seconds: float) -> None:
        """Wait for a start; GuestHung when it does not end, which is remembered until it has."""
        try:
            task.result(seconds)
        except GuestHung:
            self._hung.add((name, task))
            raise

    def names(self) -> set[str]:
        """The domains that may come to run at any moment."""
        hung = tuple(self._hung)
        self._hung.difference_update(start for start in hung if start[1].ended)
        return {name for name, task in hung if not task.ended}


class Guest:
    """A domain by name; it need not be there. Errors are those of :class:`Connection`."""

    def __init__(self, connection: Connection, name: str, starts: Starts) -> None:
        self._connection = connection
        self._starts = starts
        self.name = name

    def look(self) -> Look | None:
        """What it is now; None when there is no such domain."""
        try:
            return self._do(look_at)
        except GuestGone:
            return None

    def settled(self) -> Look | None:
        """What it is once no job of a former agent's goes on in it; None when there is no such
        domain. A guest that is being saved looks paused, and refuses what would change it.

        What cannot be ended (a start) is waited for. GuestHung when it does not end.
        """
        end = time.monotonic() + self._connection.seconds
        try:
            while self._do(_end_job):
                if time.monotonic() > end:
                    raise GuestHung("What was begun in the guest before does not end.")
                time.sleep(POLL)
        except GuestGone:
            return None
        return self.look()

    def define(self, document: Callable[[str], str], instance_id: str) -> None:
        """Define it anew.

        :param document: makes its XML from a uuid: the instance's own, unless a domain of another
            host on the same hypervisor has that now
        """

        def work(conn: Any) -> None:
            try:
                taken = conn.lookupByUUIDString(instance_id).name() != self.name
            except libvirt.libvirtError:
                taken = False
            own = uuid.uuid5(uuid.UUID(instance_id), self.name) if taken else instance_id
            conn.defineXML(document(str(own)))

        self._connection.call(work)

    def start(self, longer: float = 0.0) -> None:
        """Start it, from its saved memory if there is any, which may take so much longer."""
        task = self._connection.start(lambda conn: conn.lookupByName(self.name).create())
        self._starts.wait(self.name, task, self._connection.seconds + longer)

    def pause(self) -> None:
        """Stop its processors."""
        self._do(lambda domain: domain.suspend())

    def unpause(self) -> None:
        """Let its processors go on."""
        self._do(lambda domain: domain.resume())

    def press_power_button(self) -> None:
        """Ask the guest to shut down, by ACPI."""
        self._do(lambda domain: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))

    def save(self) -> Task[None]:
        """Begin to store its memory; it will run on when it is started again."""
        return self._connection.start(
            lambda conn: conn.lookupByName(self.name).managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)
        )

    def job(self) -> tuple[int, int]:
        """(done, total) bytes of the job that goes on; zeros when none does."""

        def work(domain: Any) -> tuple[int, int]:
            info = domain.jobInfo()
            return int(info[4]), int(info[3])

        return self._do(work)

    def abort_job(self) -> None:
        """End the job that goes on, if any does and can be ended."""
        self._do(_end_job)

    @property
    def seconds(self) -> float:
        """After which a call counts as hung."""
        return self._connection.seconds

    def migrate(
        self, uri: str, name: str, address: str, flags: int, there: Callable[[str], str]
    ) -> Task[None]:
        """Begin to hand it over.

        :param uri: of the other libvirtd
        :param name: that it has there
        :param address: on which the other host waits for it
        :param there: makes its XML for the other host from what it is here
        """

        def work(conn: Any) -> None:
            domain = conn.lookupByName(self.name)
            running = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
            kept = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | INACTIVE)
            wanted = {
                libvirt.VIR_MIGRATE_PARAM_DEST_NAME: name,
                libvirt.VIR_MIGRATE_PARAM_DEST_XML: there(running),
                libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: there(kept),
                libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: address,
                libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: targets_of(running),
            }
            domain.migrateToURI3(uri, wanted, flags)

        return self._connection.start(work)

    def is_leaving(self) -> bool:
        """Whether it is on its way to another host."""
        out = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT

        def work(domain: Any) -> bool:
            try:
                found = domain.jobStats()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                    return False
                raise
            going_on = found.get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE
            return bool(going_on and found.get(libvirt.VIR_DOMAIN_JOB_OPERATION) == out)

        return self._do(work)

    def stands_by_us(self) -> bool:
        """Whether it was told to wait, rather than stands still because it may run elsewhere."""
        told = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)
        return self._do(lambda domain: tuple(domain.state()) == told)

    def set_downtime(self, milliseconds: int) -> None:
        """How long it may stand still to be handed over."""
        self._do(lambda domain: domain.migrateSetMaxDowntime(milliseconds))

    def force_over(self) -> None:
        """Have it wait, so that it writes no more and its handing over comes to an end."""
        self.pause()

    def force_off(self) -> None:
        """End it at once and note that it was us; harmless when it has ended by itself."""

        def work(domain: Any) -> None:
            with contextlib.suppress(libvirt.libvirtError):  # one without definition ends, too
                self._mark(domain, lambda marks: replace(marks, forced=True))
            try:
                domain.destroy()
            except libvirt.libvirtError:
                # Right after a hypervisor was reopened this may fail though it worked.
                if domain.isActive():
                    raise

        self._do(work)

    def drop_saved(self) -> None:
        """Throw its saved memory away."""
        self._do(lambda domain: domain.managedSaveRemove() if domain.hasManagedSaveImage() else 0)

    def mark_saved(self, marks: Marks) -> None:
        """Have other marks in the definition and in the saved memory."""

        def work(domain: Any) -> None:
            saved = domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
            domain.managedSaveDefineXML(
                xml.with_marks(saved, marks), libvirt.VIR_DOMAIN_SAVE_RUNNING
            )
            self._mark(domain, lambda _old: marks)

        self._do(work)

    def undefine(self) -> None:
        """Remove its definition and saved memory; harmless when it is not there."""
        try:
            self._do(lambda domain: domain.undefineFlags(UNDEFINE))
        except GuestGone:
            return

    def _mark(self, domain: Any, change: Callable[[Marks], Marks]) -> None:
        element = libvirt.VIR_DOMAIN_METADATA_ELEMENT
        text = domain.metadata(element, xml.PADDOCK, CONFIG)
        new = xml.marks_xml(change(xml.read_marks(text)))
        domain.setMetadata(element, new, "paddock", xml.PADDOCK, CONFIG)

    def _do(self, function: Callable[[Any], T]) -> T:
        return self._connection.call(lambda conn: function(conn.lookupByName(self.name)))
