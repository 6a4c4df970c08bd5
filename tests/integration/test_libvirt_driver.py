"""The libvirt driver with real guests, on libvirt inside this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_agent.drivers.libvirt import embed
from devstack.guest.build import GuestImages
from tests.driver_contract import DriverContract, last_line, launched, wait_for
from tests.libvirt_lab import LibvirtLab, cleared


@pytest.fixture
def lab(embed_root: Path, images: GuestImages, tmp_path: Path) -> Iterator[LibvirtLab]:
    options = {"uri": embed.prepare(embed_root), "network": "user"}
    with cleared(LibvirtLab(tmp_path, images, {"h1": options, "h2": options})) as lab:
        yield lab


class TestLibvirtDriver(DriverContract):
    pass


def test_the_address_is_the_ports_own(lab: LibvirtLab) -> None:
    guest = lab.guest()
    lab.driver.launch(guest, launched())

    def address() -> str | None:
        line = last_line(lab.driver, guest.id)
        return line["ip"] if line and line["ip"] != "-" else None

    assert wait_for(address, lab.patience, "address") == guest.ports[0].address
