"""The guests' network, on libvirt's own test driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import factories

libvirt = pytest.importorskip("libvirt")

from compute_agent.drivers.libvirt import xml  # noqa: E402
from compute_agent.drivers.libvirt.network import Bridge, BridgeNetwork  # noqa: E402

WORKERS = 4


class Hypervisor:
    """A libvirt connection whose definitions take their time."""

    def __init__(self) -> None:
        self.conn = libvirt.open("test:///default")
        self.made = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.conn, name)

    def networkDefineXML(self, document: str) -> Any:
        self.made += 1
        network = self.conn.networkDefineXML(document)
        time.sleep(0.1)  # so that all who found nothing come here at once
        return network

    def call(self, function: Callable[[Any], Any]) -> Any:
        return function(self)


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    hypervisor = Hypervisor()
    yield hypervisor
    hypervisor.conn.close()


@pytest.fixture
def network(hypervisor: Hypervisor, tmp_path: Path) -> BridgeNetwork:
    bridge = Bridge("brtest", "10.99.0.2/24", None, None)
    return BridgeNetwork(hypervisor, bridge, tmp_path / "lock")  # type: ignore[arg-type]


def test_workers_that_miss_the_network_at_once_make_it_once(
    hypervisor: Hypervisor, network: BridgeNetwork
) -> None:
    with ThreadPoolExecutor(WORKERS) as workers:
        for done in [workers.submit(network.ensure) for _ in range(WORKERS)]:
            done.result()
    assert hypervisor.made == 1
    assert hypervisor.networkLookupByName(xml.NETWORK).isActive()


def test_a_guest_leaves_though_the_network_is_not_there(
    hypervisor: Hypervisor, network: BridgeNetwork
) -> None:
    network.unplug(factories.guest(None).id)
    network.ensure()
    hypervisor.networkLookupByName(xml.NETWORK).destroy()
    network.unplug(factories.guest(None).id)
