"""Figures of this host, read without the hypervisor so that a heartbeat never waits for it."""

from __future__ import annotations

import os
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import psutil
from oslo_config import cfg

from compute_agent.disks import GIB, DiskStore
from compute_agent.drivers.libvirt.probe import KVM, Measured
from paddock.records import HostFacts, Resources

MIB = 1024**2
POOL = "paddock"


def store_uri(conf: cfg.ConfigOpts, root: Path) -> str:
    """The URI by which other hosts reach this host's disks.

    A host that names a loopback address has neighbours on this machine only: they read its
    directory. Else it is this libvirt's URI with the storage pool that lies over the directory.
    """
    if is_local(conf.compute.address):
        return f"file://{quote(str(root))}"
    uri = conf.libvirt.migration_uri or f"qemu+tls://{conf.compute.address}/system"
    return f"{uri}{'&' if '?' in uri else '?'}pool={POOL}"


def is_local(address: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def collect(
    conf: cfg.ConfigOpts, disks: DiskStore, measured: Measured, capabilities: list[str]
) -> HostFacts:
    """The host's facts now."""
    return HostFacts(
        resources=_resources(conf, disks),
        capabilities=capabilities,
        version=version("paddock"),
        hypervisor_type="KVM" if measured.virt_type == KVM else "QEMU",
        hypervisor_version=measured.version,
        uptime=int(float(Path("/proc/uptime").read_text().split()[0])),
        address=conf.compute.address,
        store=store_uri(conf, disks.root),
        extra={"virt_type": measured.why, "arch": os.uname().machine},
    )


def _resources(conf: cfg.ConfigOpts, disks: DiskStore) -> Resources:
    compute = conf.compute
    memory_mb = compute.memory_mb or psutil.virtual_memory().total // MIB
    return Resources(
        vcpus=compute.vcpus or len(os.sched_getaffinity(0)),
        memory_mb=max(0, memory_mb - compute.reserved_memory_mb),
        disk_gb=compute.disk_gb or max(0, _disk_gb(disks) - compute.reserved_disk_gb),
    )


def _disk_gb(disks: DiskStore) -> int:
    """What is free, and what the guests' disks have taken of it."""
    found = os.statvfs(disks.root)
    taken = sum(_taken(path) for path in disks.root.iterdir())
    return int(found.f_bavail * found.f_frsize + taken) // GIB


def _taken(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:  # it has just been removed
        return 0
