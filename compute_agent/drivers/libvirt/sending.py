"""Handing a running guest over to another host's libvirtd, which this host's one speaks to itself.

Memory and disk go over TLS, to the address that the other host has for hosts.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import quote

import libvirt

from compute_agent.drivers.base import Launch, Work
from compute_agent.drivers.libvirt.connection import Task
from compute_agent.drivers.libvirt.elsewhere import Files, elsewhere, marks_of
from compute_agent.drivers.libvirt.guest import Guest, prefix_of
from paddock.actions import Seen
from paddock.errors import GuestGone, GuestHung, HypervisorError
from paddock.records import GuestSpec, Landing

POLL = 0.1
FORCE, ABORT = "force-complete", "abort"
FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_TLS
    | libvirt.VIR_MIGRATE_NON_SHARED_DISK
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
)


@dataclass(frozen=True)
class Manner:
    """How guests are handed over.

    :ivar root: this host's directory of guests' files
    :ivar pki: directory of what this host's libvirtd shows to others
    :ivar downtime: milliseconds that a guest may stand still
    :ivar patience: seconds until ``late`` is done; 0 for ever
    :ivar late: ``abort`` or ``force-complete``
    """

    root: Path
    pki: Path
    downtime: int
    patience: float
    late: str


def uri_of(address: str, pki: Path) -> str:
    """How a libvirtd reaches another host's.

    :raises HypervisorError: the address is none: what another host tells chooses no other way
    """
    try:
        known = ip_address(address if "%" not in address else "")  # a zone may be any text
    except ValueError:
        raise HypervisorError(f"{address!r} is not an IP address of a host.") from None
    host = f"[{known}]" if isinstance(known, IPv6Address) else str(known)
    return f"qemu+tls://{host}/system?pkipath={quote(str(pki))}"


class Sender:
    """Sends one guest.

    :param domain: the guest's
    """

    def __init__(self, manner: Manner, domain: Guest, guest: GuestSpec) -> None:
        self._manner = manner
        self._domain = domain
        self._guest = guest

    def send(self, landing: Landing, launch: Launch) -> None:
        """See :meth:`compute_agent.drivers.base.LiveMigratable.send`."""
        look = self._domain.settled()
        if look is None:
            return
        if look.seen is Seen.PAUSED and self._domain.stands_by_us():
            self._domain.unpause()  # to end it sooner, an attempt before this one had it wait
        elif look.seen is not Seen.RUNNING:
            raise GuestGone(f"The guest {self._guest.id} is {look.seen}.")
        uri = uri_of(landing.address, self._manner.pki)
        name = prefix_of(launch.cloud_id, landing.host) + self._guest.id
        files = Files(
            self._manner.root, Path(landing.directory), self._guest.id, launch.disk_generation
        )
        generation = self._guest.generation + 1

        def there(document: str) -> str:
            marks = replace(
                marks_of(document), host=landing.host, generation=generation,
                launched_by=launch.action_id, disk_generation=launch.disk_generation,
            )  # fmt: skip
            return elsewhere(document, marks, files)

        launch.may_launch()
        self._watch(self._domain.migrate(uri, name, landing.address, FLAGS, there), launch.work)

    def _watch(self, task: Task[None], work: Work) -> None:
        begun, is_told, is_late = time.monotonic(), False, False
        while not task.done(POLL):
            try:
                work.check()
                is_told = is_told or self._set_downtime()
                self._tell(work)
                patience = self._manner.patience
                if patience and not is_late and time.monotonic() - begun > patience:
                    is_late = True
                    self._be_late()
            except Exception:
                if self._break_off(task):
                    return
                raise
        self._take(task)

    def _be_late(self) -> None:
        if self._manner.late == FORCE:
            self._domain.force_over()
        else:
            raise HypervisorError(
                f"The guest was not handed over within {self._manner.patience:g} s."
            )

    def _break_off(self, task: Task[None]) -> bool:
        """End the sending for good; whether the guest was handed over meanwhile.

        :raises GuestHung: it does not end
        """
        with contextlib.suppress(HypervisorError):  # whether it has ended, the task tells
            self._domain.abort_job()
        if not task.done(self._domain.seconds):
            raise GuestHung(f"The guest {self._guest.id} is still on its way.")
        with contextlib.suppress(HypervisorError):
            self._take(task)
            return True
        return False

    def _take(self, task: Task[None]) -> None:
        """What came of it; a guest that we had wait runs on when it stays here."""
        try:
            task.result(0)
        except GuestHung as error:
            raise HypervisorError(error.message) from error  # libvirt's own, and it has ended
        except HypervisorError:
            with contextlib.suppress(HypervisorError):
                if self._domain.stands_by_us():
                    self._domain.unpause()
            raise

    def _set_downtime(self) -> bool:
        try:
            self._domain.set_downtime(self._manner.downtime)
        except GuestHung:
            raise
        except HypervisorError:  # not yet
            return False
        return True

    def _tell(self, work: Work) -> None:
        try:
            done, total = self._domain.job()
        except GuestHung:
            raise
        except HypervisorError:  # it has just ended
            return
        if total:
            work.progress(done, max(done, total))
