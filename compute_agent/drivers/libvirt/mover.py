"""Disks brought from other hosts: through libvirt's storage streams, or from a directory here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import libvirt

from compute_agent.disks import Copied, DiskStore, directory_of
from compute_agent.drivers.base import Work
from compute_agent.drivers.libvirt import xml
from compute_agent.drivers.libvirt.connection import (
    KEEPALIVE_COUNT,
    KEEPALIVE_SECONDS,
    Task,
    start_event_loop,
)
from compute_agent.drivers.libvirt.facts import POOL
from compute_agent.sparse import Writer, data_size
from paddock.errors import GuestHung, HypervisorError
from paddock.records import DiskSource

SCHEMES = ("qemu+tcp", "qemu+tls", "qemu+ssh", "qemu+unix")
PARAMETERS = frozenset({"pool", "socket", "mode", "keyfile", "known_hosts",
                        "known_hosts_verify", "sshauth", "no_tty"})  # fmt: skip
"""What such a URI may say. Another host made it: libvirt's ``command`` would run here, and whom
this host believes is not that one's to say (``pkipath``, ``no_verify``)."""
UNPROTECTED = "qemu+tcp"
"""Nothing but TCP's own sum would tell that a byte changed on its way; the others sign theirs."""
CHUNK = 256 * 1024
AT_HOLE = -3
POLL = 0.2
STOP_SECONDS = 2.0


def share(conn: Any, directory: Path) -> None:
    """Have the storage pool by which other hosts read the disks in a directory."""
    try:
        pool = conn.storagePoolLookupByName(POOL)
        if xml.pool_directory(pool.XMLDesc()) != str(directory):
            if pool.isActive():
                pool.destroy()
            pool.undefine()
            pool = conn.storagePoolDefineXML(xml.pool_xml(POOL, directory))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        pool = conn.storagePoolDefineXML(xml.pool_xml(POOL, directory))
    if not pool.isActive():
        pool.create()


def fetch(
    disks: DiskStore, instance_id: str, source: DiskSource, generation: int, work: Work,
    seconds: float, pki_path: str | None = None,
) -> None:  # fmt: skip
    """See :meth:`compute_agent.drivers.base.DiskMover.fetch`.

    :param seconds: without a byte, after which the other host counts as hung
    :param pki_path: where this host's certificate for qemu+tls lies; libvirt's places by default
    """
    name = f"{instance_id}.g{source.generation}.raw"
    if source.store.startswith("file:"):
        disks.receive(directory_of(source.store) / name, instance_id, generation, work)
        return
    uri, pool = read_store(source.store, pki_path)
    disks.receive_by(
        lambda target: _Download(uri, pool, name, target).run(work, seconds),
        instance_id, generation, work,
    )  # fmt: skip


def read_store(store: str, pki_path: str | None = None) -> tuple[str, str]:
    """The libvirt URI and the pool's name in a store's URI; HypervisorError for any other."""
    parts = urlsplit(store)
    query = parse_qsl(parts.query)
    pool = dict(query).get("pool")
    strange = any(key not in PARAMETERS for key, _value in query)
    if parts.scheme not in SCHEMES or not pool or strange:
        raise HypervisorError(f"The store {store!r} is not one that this host can read.")
    rest = [(key, value) for key, value in query if key != "pool"]
    if parts.scheme == "qemu+tls" and pki_path:
        rest.append(("pkipath", pki_path))
    return urlunsplit(parts._replace(query=urlencode(rest, safe="/", quote_via=quote))), pool


class _Download:
    """One disk on its way here. The streams are read in a native thread.

    A stream is all that libvirt lets others have of a disk: its digest is taken of what arrives.
    So over a transport that does not protect what it carries the disk is read twice.
    """

    def __init__(self, uri: str, pool: str, name: str, target: BinaryIO) -> None:
        self._uri = uri
        self._pool = pool
        self._name = name
        self._target = target
        self._done = 0
        self._total = 0
        self._stopped = False

    def run(self, work: Work, seconds: float) -> Copied:
        """Read it all, while ``work`` is told and asked."""
        task = Task(self._read)
        try:
            self._watch(task, work, seconds)
        except BaseException:
            self._stopped = True
            task.done(STOP_SECONDS)
            raise
        digest = task.result(0)
        self._target.flush()
        return Copied(digest, self._done, self._done + data_size(self._target))

    def _watch(self, task: Task[str], work: Work, seconds: float) -> None:
        seen, until = -1, 0.0
        while not task.done(POLL):
            work.check()
            if self._total:
                work.progress(self._done, self._total)
            if self._done != seen:
                seen, until = self._done, time.monotonic() + seconds
            elif time.monotonic() > until:
                raise GuestHung(f"{self._uri} sent nothing of the disk for {seconds:g} s.")

    def _read(self) -> str:
        start_event_loop()
        conn = libvirt.open(self._uri)
        try:
            conn.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)  # else a cut link hangs for ever
            pool = conn.storagePoolLookupByName(self._pool)
            pool.refresh()
            volume = pool.storageVolLookupByName(self._name)
            # The file's own size: the other figure is what a guest can write into its disk.
            size = volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]
            twice = urlsplit(self._uri).scheme == UNPROTECTED
            self._total = (3 if twice else 2) * volume.info()[2]
            arrived = self._stream(conn, volume, Writer(self._target, size), size)
            if twice and self._stream(conn, volume, Writer(None, size), size) != arrived:
                raise HypervisorError("The disk was another one when it was read again.")
            return arrived
        finally:
            conn.close()

    def _stream(self, conn: Any, volume: Any, writer: Writer, size: int) -> str:
        """Read the disk once; gives the digest of what arrived."""
        stream, offset = conn.newStream(), 0
        volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
        try:
            while (data := stream.recvFlags(CHUNK, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)) != b"":
                if self._stopped:
                    raise HypervisorError("The move was stopped.")
                if data == AT_HOLE:
                    offset += stream.recvHole()
                    continue
                writer.write(offset, data)
                offset += len(data)
                self._done += len(data)
        except BaseException:
            stream.abort()
            raise
        stream.finish()
        if offset != size:
            raise HypervisorError(f"The disk ended after {offset} of {size} bytes.")
        return writer.finish()
