"""Hosts with the libvirt driver and real guests, for the drivers' contract and more."""

from __future__ import annotations

import hashlib
import time
import uuid
from pathlib import Path
from typing import Any

from compute_agent.drivers.base import Driver
from compute_agent.drivers.libvirt.connection import Connection
from compute_agent.drivers.libvirt.driver import LibvirtDriver
from devstack.guest.build import GuestImages
from paddock.errors import HypervisorError
from paddock.records import DirectBoot, GuestSpec, ImageSpec
from tests import factories
from tests.driver_contract import CLOUD, Lab

PATIENCE = 60.0
PRESS_AGAIN = 2.5


def raw_image(path: Path) -> ImageSpec:
    """A file of the test guest as an image."""
    return ImageSpec(
        id=str(uuid.uuid4()), name=path.name, file=path.name, disk_format="raw",
        checksum=hashlib.sha256(path.read_bytes()).hexdigest(),
    )  # fmt: skip


def direct_boot(images: GuestImages) -> DirectBoot:
    """What the test guest boots whose disk does not boot by itself."""
    return DirectBoot(
        kernel=raw_image(images.vmlinuz), ramdisk=raw_image(images.initrd),
        command_line=images.cmdline,
    )  # fmt: skip


def pid_of(instance_id: str) -> int:
    """The QEMU process of a guest."""
    found = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"qemu-system" in (text := path.read_bytes()) and instance_id.encode() in text
    ]
    assert len(found) == 1
    return found[0]


class LibvirtLab(Lab):
    """Two hosts, ``h1`` and ``h2``.

    :param root: of all their files
    :param options: of the group ``libvirt``, by host
    """

    patience = PATIENCE

    def __init__(
        self, root: Path, images: GuestImages, options: dict[str, dict[str, Any]],
        addresses: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.root = root
        self._images = images
        self._options = options
        self._addresses = addresses or {}
        self._drivers: list[LibvirtDriver] = []
        self.image = raw_image(images.disk)
        self.boot: DirectBoot | None = direct_boot(images)
        self.changes = []
        self.driver = self.connected("h1")

    def guest(self, mark: str = "first", generation: int = 1, **changes: Any) -> GuestSpec:
        fields: dict[str, Any] = {"metadata": {"mark": mark}, "generation": generation}
        fields |= {"boot": self.boot} | changes
        return factories.guest(self.image, **fields)

    def restarted(self, cloud_id: str = CLOUD) -> Driver:
        return self.connected("h1", cloud_id)

    def elsewhere(self) -> Driver:
        return self.connected("h2")

    def connected(self, host: str, cloud_id: str = CLOUD) -> LibvirtDriver:
        """A new driver for a host."""
        conf = factories.agent_conf(
            self.root, host, driver="libvirt", image_store=str(self._images.disk.parent),
            address=self._addresses.get(host, "127.0.0.1"),
        )  # fmt: skip
        for name, value in self._options[host].items():
            conf.set_override(name, value, group="libvirt")
        driver = LibvirtDriver(conf)
        driver.connect(cloud_id, lambda id, seen: self.changes.append((id, seen)))
        self._drivers.append(driver)
        return driver

    def end_by_itself(self, instance_id: str) -> None:
        connection = Connection(self._options["h1"]["uri"], PATIENCE, lambda _line: None)

        def press(conn: Any) -> bool:
            domains = [one for one in conn.listAllDomains() if one.name().endswith(instance_id)]
            for domain in domains:
                if domain.isActive():
                    domain.shutdown()
            return not any(domain.isActive() for domain in domains)

        def has_ended() -> bool:
            try:
                return connection.call(press)
            except HypervisorError:  # between the look and the press
                return False

        end = time.monotonic() + PATIENCE
        # A guest that has only just printed its first line may not hear the first press.
        while not has_ended() and time.monotonic() < end:
            time.sleep(PRESS_AGAIN)
        connection.close()

    def forget(self, instance_id: str) -> None:
        """Take a running guest's definition away, not through the driver."""
        connection = Connection(self._options["h1"]["uri"], PATIENCE, lambda _line: None)

        def undefine(conn: Any) -> None:
            for domain in conn.listAllDomains():
                if domain.name().endswith(instance_id):
                    domain.undefine()

        connection.call(undefine)
        connection.close()

    def empty(self) -> None:
        """Remove every guest."""
        for driver in self._drivers:
            for found in driver.found():
                driver.destroy(found.instance_id, None)

    def close(self) -> None:
        """Let go of the hypervisors."""
        for driver in self._drivers:
            driver.close()
