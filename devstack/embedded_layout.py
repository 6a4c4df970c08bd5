"""What the embedded cloud consists of: three hosts in two zones that share this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from devstack.place import Place
from devstack.preparation import GuestNetwork

HOSTS = {"h1": "az1", "h2": "az1", "h3": "az2"}
ADDRESSES = GuestNetwork("10.77.0.0/24", "10.77.0.1", "10.77.0.32", "10.77.0.254")
CLOUD_MEMORY_MB = 1024
"""What is kept of the machine's memory for everything but guests, in MiB."""


def agent_options(place: Place, uri: str | None) -> Mapping[str, Mapping[str, Any]]:
    """The options of every agent.

    :param uri: the hypervisor's; None for the fake driver
    """
    compute = {
        "driver": "libvirt" if uri else "fake",
        "memory_mb": _memory_mb(),
        "reserved_memory_mb": 0,
        "machine_id_file": str(_machine_id(place)),
    }
    libvirt = {"uri": uri, "network": "user"} if uri else {}
    return {"compute": compute, "libvirt": libvirt}


def _memory_mb() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return max(512, (machine - CLOUD_MEMORY_MB) // len(HOSTS))


def _machine_id(place: Place) -> str:
    """A file that stands for the machine; containers often have no /etc/machine-id."""
    path = place.directory / "state" / "machine-id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(os.urandom(16).hex() + "\n")
    return str(path)
