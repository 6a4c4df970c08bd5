"""Figures of this host, read without the hypervisor so that a heartbeat never waits for it."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import psutil
from oslo_config import cfg

from compute_agent.disks import GIB, DiskStore
from compute_agent.drivers.libvirt.probe import KVM, Measured
from paddock.records import HostFacts, Resources

MIB = 1024**2


def collect(
    conf: cfg.ConfigOpts, disks: DiskStore, measured: Measured, capabilities: list[str], store: str
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
        store=store,
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
