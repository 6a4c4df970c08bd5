"""Makes the records and settings that tests of the agent and its drivers need."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

from oslo_config import cfg

from paddock import config
from paddock.records import GuestSpec, ImageSpec, PortSpec


def agent_conf(root: Path, host: str = "h1", **compute: Any) -> cfg.ConfigOpts:
    """The settings of an agent with the fake driver, all files below ``root``.

    :param compute: further options of the group ``compute``
    """
    machine = root / host / "machine-id"
    machine.parent.mkdir(parents=True, exist_ok=True)
    machine.write_text(f"{uuid.uuid5(uuid.NAMESPACE_DNS, host).hex}\n")
    settings = {
        "driver": "fake",
        "zone": "az1",
        "image_store": str(root / "images"),
        "machine_id_file": str(machine),
        "heartbeat_interval": 0.1,
        "lease": 2.0,
        "observe_interval": 0.2,
        "shutdown_wait": 5.0,
    }
    return config.load(
        overrides={
            "DEFAULT": {
                "host": host,
                "state_path": str(root / host),
                "transport_url": "paddock://test/",
                "call_timeout": 2.0,
            },
            "compute": settings | compute,
        }
    )


def image(root: Path, name: str = "test.raw", size: int = 1024**2) -> ImageSpec:
    """A raw image of random-looking content in the store below ``root``."""
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(hashlib.sha256(name.encode()).digest() * (size // 32))
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    return ImageSpec(
        id=str(uuid.uuid4()), name=name, file=name, disk_format="raw", checksum=checksum
    )


def guest(image: ImageSpec | None, **changes: Any) -> GuestSpec:
    """A small guest with one port."""
    number = uuid.uuid4().int
    port = PortSpec(
        id=str(uuid.uuid4()),
        network_id=str(uuid.uuid4()),
        network_name="private",
        mac=f"fa:16:3e:00:{number % 256:02x}:{number // 256 % 256:02x}",
        address=f"10.99.1.{number % 250 + 2}",
        cidr="10.99.0.0/16",
    )
    fields: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "name": "guest",
        "project_id": str(uuid.uuid4()),
        "generation": 1,
        "vcpus": 1,
        "memory_mb": 128,
        "disk_gb": 1,
        "image": image,
        "ports": [port],
        "metadata": {"mark": "first"},
    }
    return GuestSpec(**fields | changes)
