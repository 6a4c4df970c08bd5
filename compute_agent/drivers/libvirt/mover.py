"""Disks brought from other hosts: through libvirt's storage streams, or from a directory here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import libvirt

from compute_agent.disks import DiskStore, directory_of
from compute_agent.drivers.base import Work
from compute_agent.drivers.libvirt import xml
from compute_agent.drivers.libvirt.facts import POOL
from paddock.records import DiskSource


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
    seconds: float,
) -> None:  # fmt: skip
    """See :meth:`compute_agent.drivers.base.DiskMover.fetch`.

    :param seconds: without a byte, after which the other host counts as hung
    """
    name = f"{instance_id}.g{source.generation}.raw"
    if source.store.startswith("file:"):
        disks.receive(directory_of(source.store) / name, instance_id, generation, work)
