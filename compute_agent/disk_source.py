"""Disks that lie elsewhere: in another directory of this machine, or with another host's agent."""

from __future__ import annotations

import json
import os
import sys
import time
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO
from urllib.parse import quote, urlsplit

from oslo_config import cfg

from compute_agent.disk_stream import COUNT
from compute_agent.disks import GIB, Copied, DiskStore, directory_of
from compute_agent.drivers.base import Work
from compute_agent.helper import HelperFailed, run_helper
from compute_agent.sparse import COPYING, data_size
from paddock import failpoints, tickets
from paddock.errors import GuestHung, HypervisorError
from paddock.records import DiskSource, GuestSpec

FETCH_SECONDS = 24 * 3600.0
"""The step's own deadline comes first, which progress moves."""
LARGEST = 2**62
"""Bytes of a disk whose flavor leaves its size to the image, which the target does not know."""
SCHEME = "https"


def store_uri(conf: cfg.ConfigOpts, root: Path) -> str:
    """The URI by which other hosts reach this host's disks; empty when none does.

    A host with a certificate gives them by its agent. One that names a loopback address has
    neighbours on this machine only: they read its directory.

    :param root: the directory of the disks
    """
    address = conf.compute.address
    if conf.compute.pki_path:
        return f"{SCHEME}://{_bracketed(address)}:{conf.compute.disk_port}"
    return f"file://{quote(str(root))}" if _is_local(address) else ""


def _is_local(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def disk_sources(conf: cfg.ConfigOpts, disks: DiskStore) -> DiskSources:
    """What brings disks to this host."""
    return DiskSources(disks, conf.compute.pki_path, conf.libvirt.call_timeout)


def _bracketed(address: str) -> str:
    try:
        return f"[{IPv6Address(address)}]"
    except ValueError:
        return address


class DiskSources:
    """Brings disks here from where the ledger says that they lie.

    :param disks: where they are kept
    :param pki: the directory of this host's certificate, its key and the CA's certificate
    :param seconds: without a byte, after which another host counts as hung
    """

    def __init__(self, disks: DiskStore, pki: str | None, seconds: float) -> None:
        self._disks = disks
        self._pki = Path(pki) if pki else None
        self._seconds = seconds

    def bring(self, guest: GuestSpec, source: DiskSource, generation: int, work: Work) -> None:
        """Have a verified copy; see :meth:`compute_agent.drivers.base.DiskMover.fetch`."""
        scheme = urlsplit(source.store).scheme
        if scheme == "file":
            name = f"{guest.id}.g{source.generation}.raw"
            self._disks.receive(directory_of(source.store) / name, guest.id, generation, work)
        elif scheme == SCHEME:
            most = guest.disk_gb * GIB or LARGEST
            self._disks.receive_by(
                lambda target: self._fetch(source, target, most, work), guest.id, generation, work
            )
        else:
            raise HypervisorError(f"Host {source.host} gives its disks to no other host.")

    def _fetch(self, source: DiskSource, target: BinaryIO, most: int, work: Work) -> Copied:
        wanted = {
            "url": f"{source.store}{tickets.DISK_PATH}",
            "ticket": source.ticket,
            "path": target.name,
            "most": most,
            **self._identity(),
        }
        # In a program of its own: requests' sockets would not be the threads' kind here.
        command = [sys.executable, "-I", "-m", "compute_agent.fetch_disk"]
        with TemporaryFile() as told:
            watch = _Watch(source.host, told, work, self._seconds)
            try:
                run_helper(command, FETCH_SECONDS, watch, json.dumps(wanted).encode(), told)
            except HelperFailed as error:
                raise HypervisorError(
                    f"The disk could not be had from host {source.host}: {error}."
                ) from error
            done, _total = watch.count()
            told.seek(COUNT.size)
            return Copied(told.read().decode(), done, done + data_size(target))

    def _identity(self) -> dict[str, object]:
        if self._pki is None:
            raise HypervisorError("[compute] pki_path must be set to have disks from other hosts.")
        own = [str(self._pki / name) for name in ("cert.pem", "key.pem")]
        return {"authority": str(self._pki / "cacert.pem"), "certificate": own}


class _Watch:
    """Tells how far a fetch is, and ends one that is cancelled or hangs.

    :param told: what :mod:`compute_agent.fetch_disk` says
    """

    def __init__(self, host: str, told: IO[bytes], work: Work, seconds: float) -> None:
        self._host = host
        self._told = told
        self._work = work
        self._seconds = seconds
        self._seen = -1
        self._until = 0.0

    def count(self) -> tuple[int, int]:
        """Bytes that have arrived, and that will have; (0, 0) while nobody has answered."""
        said = os.pread(self._told.fileno(), COUNT.size, 0)
        return COUNT.unpack(said) if len(said) == COUNT.size else (0, 0)

    def __call__(self) -> None:
        """Look once."""
        self._work.check()
        done, total = self.count()
        if total:
            failpoints.hit(COPYING)
            self._work.progress(done, 2 * total)  # all of it is read back
        if done != self._seen:
            self._seen, self._until = done, time.monotonic() + self._seconds
        elif time.monotonic() > self._until:
            raise GuestHung(f"Host {self._host} sent nothing of the disk for {self._seconds:g} s.")
