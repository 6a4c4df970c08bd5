"""The fake driver under the drivers' contract, and its own orders."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from compute_agent.drivers.base import DiskMover, Driver, Work
from compute_agent.drivers.fake import FakeDriver
from compute_agent.drivers.fake_control import Behaviour
from paddock.actions import Seen
from paddock.errors import HypervisorError, WorkCancelled
from paddock.records import GuestSpec
from tests import factories
from tests.driver_contract import CLOUD, DriverContract, Lab, launched, quiet


class FakeLab(Lab):
    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes = []
        self.driver: FakeDriver = self._connect("h1")

    def guest(self, mark: str = "first", generation: int = 1) -> GuestSpec:
        image = factories.image(self.root)
        return factories.guest(image, metadata={"mark": mark}, generation=generation)

    def restarted(self, cloud_id: str = CLOUD) -> Driver:
        return self._connect("h1", cloud_id)

    def elsewhere(self) -> Driver:
        return self._connect("h2")

    def end_by_itself(self, instance_id: str) -> None:
        self.driver.happen(instance_id, Seen.OFF)

    def _connect(self, host: str, cloud_id: str = CLOUD) -> FakeDriver:
        driver = FakeDriver(factories.agent_conf(self.root, host))
        driver.connect(cloud_id, lambda id, seen: self.changes.append((id, seen)))
        return driver


@pytest.fixture
def lab(tmp_path: Path) -> FakeLab:
    return FakeLab(tmp_path)


class TestFakeDriver(DriverContract):
    pass


def test_a_host_whose_disks_nobody_reaches_does_not_move_them(tmp_path: Path) -> None:
    conf = factories.agent_conf(tmp_path, "h1")
    conf.set_override("address", "192.0.2.1", "compute")
    facts = FakeDriver(conf).facts()
    assert (facts.store, DiskMover.name in facts.capabilities) == ("", False)
    conf.set_override("pki_path", str(tmp_path), "compute")
    facts = FakeDriver(conf).facts()
    assert facts.store == "https://192.0.2.1:16516"
    assert DiskMover.name in facts.capabilities


def test_it_fails_as_often_as_told(lab: FakeLab) -> None:
    guest = lab.guest()
    lab.driver.control.set("launch", Behaviour(fail="No room.", times=2))
    for _ in range(2):
        with pytest.raises(HypervisorError, match="No room"):
            lab.driver.launch(guest, launched())
    lab.driver.launch(guest, launched())
    assert lab.driver.seen(guest.id) is Seen.RUNNING


def test_orders_can_name_one_instance(lab: FakeLab) -> None:
    hit, spared = lab.guest(), lab.guest()
    lab.driver.control.set("launch", Behaviour(fail="No."), hit.id)
    lab.driver.launch(spared, launched())
    with pytest.raises(HypervisorError):
        lab.driver.launch(hit, launched())


def test_it_hangs_until_the_work_is_cancelled(lab: FakeLab) -> None:
    guest = lab.guest()
    lab.driver.launch(guest, launched())
    lab.driver.control.set("suspend", Behaviour(hang=True))
    end = time.monotonic() + 0.2

    def check() -> None:
        if time.monotonic() > end:
            raise WorkCancelled("Enough.")

    with pytest.raises(WorkCancelled):
        lab.driver.suspend(guest.id, Work(progress=lambda *_: None, check=check))
    lab.driver.control.clear()
    lab.driver.suspend(guest.id, quiet())


def test_a_slow_guest_is_forced_off_after_the_wait(lab: FakeLab) -> None:
    guest = lab.guest()
    lab.driver.launch(guest, launched())
    lab.driver.control.set("shut_down", Behaviour(delay=60))
    begun = time.monotonic()
    lab.driver.shut_down(guest.id, 0.2, quiet())
    assert 0.2 <= time.monotonic() - begun < 5
    assert lab.driver.seen(guest.id) is Seen.OFF


def test_it_can_lack_a_capability(lab: FakeLab) -> None:
    lab.driver.control.set_lacking(["suspend"])
    assert lab.driver.facts().capabilities == ["pause", "move"]


def test_a_disk_without_room_fails_a_launch_readably(lab: FakeLab) -> None:
    guest = lab.guest()
    lab.driver.launch(guest, launched())
    lab.driver.shut_down(guest.id, 1.0, quiet())
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024**2, usual[1]))
    try:
        with pytest.raises(HypervisorError, match=r"Starting .* failed: "):
            lab.driver.launch(guest, launched())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
