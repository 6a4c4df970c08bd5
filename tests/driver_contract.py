"""What every driver must do: one suite, run over each of them by a subclass with a ``lab``."""

# Capabilities are asked for by their abstract classes, which nobody makes an object of.
# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import abc
import re
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from compute_agent.drivers.base import (
    DiskMover,
    Driver,
    Launch,
    Pausable,
    Suspendable,
    Work,
    capabilities_of,
)
from paddock.actions import Seen
from paddock.errors import GuestGone, HypervisorError, LaunchBarred, WorkCancelled
from paddock.records import DiskSource, Found, GuestSpec

CLOUD = "c10d0000-0000-4000-8000-000000000001"
LINE = re.compile(
    r"PADDOCK-GUEST mark=(?P<mark>.*) boots=(?P<boots>\d+) mac=(?P<mac>\S*) "
    r"ip=(?P<ip>\S*) counter=(?P<counter>\d+)"
)
T = TypeVar("T")


class Lab(abc.ABC):
    """A host with the driver under test, and what only its kind of host can do.

    :ivar driver: connected for the cloud ``CLOUD``; its changes are put into ``changes``
    :ivar patience: seconds that a guest may take to print its first line
    """

    driver: Driver
    changes: list[tuple[str, Seen]]
    patience: float = 5.0

    @abc.abstractmethod
    def guest(self, mark: str = "first", generation: int = 1) -> GuestSpec:
        """A new guest with the test image, one port, 1 vCPU and a small disk."""

    @abc.abstractmethod
    def restarted(self, cloud_id: str = CLOUD) -> Driver:
        """A new driver object on the same host, as after a restart of the agent."""

    @abc.abstractmethod
    def elsewhere(self) -> Driver:
        """A driver on another host, connected; skips the test where there is none."""

    @abc.abstractmethod
    def end_by_itself(self, instance_id: str) -> None:
        """Let the guest shut itself down, not through the driver."""


def wait_for(found: Callable[[], T | None], seconds: float, what: str) -> T:
    """What ``found`` gives once it gives something."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.05)
    return value


def launched(action_id: str | None = None, generation: int = 1, barred: bool = False) -> Launch:
    def may_launch() -> None:
        if barred:
            raise LaunchBarred("Launches of this instance are barred.")

    return Launch(
        action_id=action_id or str(uuid.uuid4()),
        cloud_id=CLOUD,
        disk_generation=generation,
        may_launch=may_launch,
    )


def quiet(progress: list[tuple[int, int]] | None = None) -> Work:
    def note(done: int, total: int) -> None:
        if progress is not None:
            progress.append((done, total))

    return Work(progress=note, check=lambda: None)


def find(driver: Driver, instance_id: str) -> Found | None:
    """What the driver found of one instance."""
    return next((one for one in driver.found() if one.instance_id == instance_id), None)


def last_line(driver: Driver, instance_id: str) -> re.Match[str] | None:
    matches = list(LINE.finditer(driver.console(instance_id, None)))
    return matches[-1] if matches else None


class DriverContract:
    """Derive from this and define the fixture ``lab``."""

    @pytest.fixture
    def driver(self, lab: Lab) -> Driver:
        return lab.driver

    def printed(self, lab: Lab, driver: Driver, guest: GuestSpec, boots: int) -> re.Match[str]:
        """The guest's newest line of that boot."""

        def line() -> re.Match[str] | None:
            found = last_line(driver, guest.id)
            return found if found and int(found["boots"]) == boots else None

        return wait_for(line, lab.patience, f"line of boot {boots}")

    def running(self, lab: Lab, mark: str = "first") -> GuestSpec:
        guest = lab.guest(mark)
        lab.driver.launch(guest, launched())
        self.printed(lab, lab.driver, guest, 1)
        return guest

    def capable(self, driver: Driver, kind: type[T]) -> T:
        if not isinstance(driver, kind):
            pytest.skip(f"no {kind.__name__}")
        return driver

    def test_facts_say_what_the_host_has(self, driver: Driver) -> None:
        facts = driver.facts()
        assert facts.resources.vcpus > 0
        assert facts.resources.memory_mb > 0
        assert facts.resources.disk_gb > 0
        assert set(facts.capabilities) <= set(capabilities_of(driver))
        assert facts.hypervisor_version > 0
        assert facts.address
        assert facts.store

    def test_a_launched_guest_runs_and_proves_who_launched_it(self, lab: Lab) -> None:
        guest, launch = lab.guest(), launched()
        lab.driver.launch(guest, launch)
        assert lab.driver.seen(guest.id) is Seen.RUNNING
        found = find(lab.driver, guest.id)
        assert found is not None
        assert found.launched_by == launch.action_id
        assert (found.generation, found.disks) == (guest.generation, [1])

    def test_launching_again_is_harmless(self, lab: Lab) -> None:
        guest, launch = lab.guest(), launched()
        lab.driver.launch(guest, launch)
        self.printed(lab, lab.driver, guest, 1)
        lab.driver.launch(guest, launch)
        line = self.printed(lab, lab.driver, guest, 1)
        assert line["mark"] == "first"

    def test_only_an_active_guest_is_launched_by_somebody(self, lab: Lab) -> None:
        guest, launch = lab.guest(), launched()
        assert lab.driver.launched_by(guest.id) is None
        lab.driver.launch(guest, launch)
        assert lab.driver.launched_by(guest.id) == launch.action_id
        lab.driver.shut_down(guest.id, 0, quiet())
        assert lab.driver.launched_by(guest.id) is None

    def test_a_barred_launch_leaves_nothing(self, lab: Lab) -> None:
        guest = lab.guest()
        with pytest.raises(LaunchBarred):
            lab.driver.launch(guest, launched(barred=True))
        assert find(lab.driver, guest.id) is None

    def test_without_disk_and_image_nothing_is_launched(self, lab: Lab) -> None:
        guest = lab.guest()
        with pytest.raises(HypervisorError):
            lab.driver.launch(msgspec.structs.replace(guest, image=None), launched())
        assert find(lab.driver, guest.id) is None

    def test_a_guest_has_its_address_and_keeps_its_mark_over_a_shutdown(self, lab: Lab) -> None:
        guest = self.running(lab)
        lab.driver.shut_down(guest.id, lab.patience, quiet())
        assert lab.driver.seen(guest.id) in (Seen.OFF, Seen.GONE)
        lab.driver.shut_down(guest.id, lab.patience, quiet())
        lab.driver.launch(msgspec.structs.replace(guest, image=None), launched())
        line = self.printed(lab, lab.driver, guest, 2)
        assert line["mark"] == "first"
        assert line["mac"] == guest.ports[0].mac

    def test_a_guest_that_does_not_listen_is_forced_off(self, lab: Lab) -> None:
        guest = lab.guest()
        lab.driver.launch(guest, launched())
        begun = time.monotonic()
        lab.driver.shut_down(guest.id, 0, quiet())
        assert lab.driver.seen(guest.id) is not Seen.RUNNING
        assert time.monotonic() - begun < lab.patience

    def test_release_keeps_only_the_disk(self, lab: Lab) -> None:
        guest = lab.guest()
        lab.driver.launch(guest, launched())
        lab.driver.shut_down(guest.id, 0, quiet())
        for _ in range(2):
            lab.driver.release(guest.id)
            found = find(lab.driver, guest.id)
            assert found is not None
            assert (found.seen, found.generation, found.disks) == (Seen.GONE, None, [1])

    def test_destroy_removes_everything_also_twice(self, lab: Lab) -> None:
        guest = lab.guest()
        lab.driver.launch(guest, launched())
        for _ in range(2):
            lab.driver.destroy(guest.id, None)
            assert lab.driver.seen(guest.id) is Seen.GONE
            assert find(lab.driver, guest.id) is None

    def test_destroy_touches_only_what_is_older(self, lab: Lab) -> None:
        guest = lab.guest(generation=3)
        lab.driver.launch(guest, launched(generation=3))
        lab.driver.destroy(guest.id, 3)
        found = find(lab.driver, guest.id)
        assert found is not None
        assert (found.seen, found.disks) == (Seen.RUNNING, [3])
        lab.driver.destroy(guest.id, 4)
        assert find(lab.driver, guest.id) is None

    def test_a_machine_that_moved_away_leaves_no_console(self, lab: Lab) -> None:
        guest = self.running(lab)
        lab.driver.shut_down(guest.id, 0, quiet())
        lab.driver.release(guest.id)
        assert lab.driver.console(guest.id, None) != ""
        lab.driver.destroy(guest.id, 2)
        assert find(lab.driver, guest.id) is None
        assert lab.driver.console(guest.id, None) == ""

    def test_a_paused_guest_stands_still_and_runs_on(self, lab: Lab) -> None:
        driver = self.capable(lab.driver, Pausable)
        guest = self.running(lab)
        for _ in range(2):
            driver.pause(guest.id)
            assert lab.driver.seen(guest.id) is Seen.PAUSED
        before = last_line(lab.driver, guest.id)
        for _ in range(2):
            driver.unpause(guest.id)
            assert lab.driver.seen(guest.id) is Seen.RUNNING
        assert before is not None
        self.goes_on(lab, lab.driver, guest, before)

    def goes_on(self, lab: Lab, driver: Driver, guest: GuestSpec, before: re.Match[str]) -> None:
        """The counter grew by little, in the same boot."""

        def later() -> re.Match[str] | None:
            line = last_line(driver, guest.id)
            return line if line and int(line["counter"]) > int(before["counter"]) else None

        line = wait_for(later, lab.patience, "further line")
        assert line["boots"] == before["boots"]

    def test_launching_a_paused_guest_lets_it_run_on(self, lab: Lab) -> None:
        driver = self.capable(lab.driver, Pausable)
        guest = self.running(lab)
        driver.pause(guest.id)
        lab.driver.launch(guest, launched())
        assert lab.driver.seen(guest.id) is Seen.RUNNING
        assert self.printed(lab, lab.driver, guest, 1)

    def test_a_paused_guest_is_forced_off_at_once(self, lab: Lab) -> None:
        driver = self.capable(lab.driver, Pausable)
        guest = lab.guest()
        lab.driver.launch(guest, launched())
        driver.pause(guest.id)
        begun = time.monotonic()
        lab.driver.shut_down(guest.id, 60, quiet())
        assert time.monotonic() - begun < lab.patience
        assert lab.driver.seen(guest.id) is not Seen.PAUSED

    def test_what_does_not_run_cannot_be_paused(self, lab: Lab) -> None:
        driver = self.capable(lab.driver, Pausable)
        with pytest.raises(GuestGone):
            driver.pause(str(uuid.uuid4()))
        with pytest.raises(GuestGone):
            driver.unpause(str(uuid.uuid4()))

    def test_a_suspended_guest_goes_on_where_it_stopped_also_after_a_restart(
        self, lab: Lab
    ) -> None:
        driver = self.capable(lab.driver, Suspendable)
        guest = self.running(lab)
        for _ in range(2):
            driver.suspend(guest.id, quiet())
            assert lab.driver.seen(guest.id) is Seen.SAVED
        before = last_line(lab.driver, guest.id)
        assert before is not None
        again = lab.restarted()
        assert again.seen(guest.id) is Seen.SAVED
        driver, launch = self.capable(again, Suspendable), launched()
        for _ in range(2):
            driver.resume(guest, launch)
            assert again.seen(guest.id) is Seen.RUNNING
        found = find(again, guest.id)
        assert found is not None and found.launched_by == launch.action_id
        self.goes_on(lab, again, guest, before)

    def test_a_barred_resume_changes_nothing(self, lab: Lab) -> None:
        driver = self.capable(lab.driver, Suspendable)
        guest = self.running(lab)
        driver.suspend(guest.id, quiet())
        with pytest.raises(LaunchBarred):
            driver.resume(guest, launched(barred=True))
        assert lab.driver.seen(guest.id) is Seen.SAVED

    def test_shutting_down_throws_saved_memory_away(self, lab: Lab) -> None:
        driver = self.capable(lab.driver, Suspendable)
        guest = self.running(lab)
        driver.suspend(guest.id, quiet())
        lab.driver.shut_down(guest.id, lab.patience, quiet())
        assert lab.driver.seen(guest.id) in (Seen.OFF, Seen.GONE)

    def test_nothing_saved_cannot_be_resumed(self, lab: Lab) -> None:
        driver = self.capable(lab.driver, Suspendable)
        with pytest.raises(GuestGone):
            driver.resume(lab.guest(), launched())

    def test_guests_outlive_the_agent(self, lab: Lab) -> None:
        guest, launch = lab.guest(), launched()
        lab.driver.launch(guest, launch)
        before = find(lab.driver, guest.id)
        assert find(lab.restarted(), guest.id) == before

    def test_other_clouds_guests_are_not_seen(self, lab: Lab) -> None:
        guest = lab.guest()
        lab.driver.launch(guest, launched())
        other = lab.restarted(str(uuid.uuid4()))
        found = find(other, guest.id)
        assert found is None or found.launched_by is None

    def test_a_change_by_the_guest_itself_is_told(self, lab: Lab) -> None:
        guest = self.running(lab)
        lab.end_by_itself(guest.id)
        wait_for(
            lambda: [seen for id, seen in lab.changes if id == guest.id and seen is Seen.OFF],
            lab.patience,
            "news of the shutdown",
        )
        assert lab.driver.seen(guest.id) is Seen.OFF

    def test_the_console_is_given_by_lines(self, lab: Lab) -> None:
        guest = self.running(lab)
        assert len(lab.driver.console(guest.id, 1).splitlines()) == 1
        assert "PADDOCK-GUEST" in lab.driver.console(guest.id, None)

    def test_a_disk_moves_with_what_is_on_it(self, lab: Lab) -> None:
        other = lab.elsewhere()
        target = self.capable(other, DiskMover)
        guest = self.running(lab, "moved")
        lab.driver.shut_down(guest.id, lab.patience, quiet())
        lab.driver.release(guest.id)
        source = DiskSource(host="first", store=lab.driver.facts().store, generation=1)
        progress: list[tuple[int, int]] = []
        for _ in range(2):
            target.fetch(guest, source, 2, quiet(progress))
            found = find(other, guest.id)
            assert found is not None and found.disks == [2]
        assert progress and progress[-1][0] == progress[-1][1] > 0
        kept = find(lab.driver, guest.id)
        assert kept is not None and kept.disks == [1]
        other.launch(guest, launched(generation=2))
        line = self.printed(lab, other, guest, 2)
        assert (line["mark"], line["mac"]) == ("moved", guest.ports[0].mac)
        other.destroy(guest.id, None)

    def test_a_cancelled_move_leaves_nothing(self, lab: Lab) -> None:
        other = lab.elsewhere()
        target = self.capable(other, DiskMover)
        guest = lab.guest()
        lab.driver.launch(guest, launched())
        lab.driver.shut_down(guest.id, 0, quiet())
        source = DiskSource(host="first", store=lab.driver.facts().store, generation=1)

        def cancelled() -> None:
            raise WorkCancelled("The step is no longer listed.")

        with pytest.raises(WorkCancelled):
            target.fetch(guest, source, 2, Work(progress=lambda *_: None, check=cancelled))
        assert find(other, guest.id) is None

    def test_a_move_from_where_nothing_is_fails(self, lab: Lab) -> None:
        other = lab.elsewhere()
        target = self.capable(other, DiskMover)
        source = DiskSource(host="first", store=lab.driver.facts().store, generation=7)
        guest = lab.guest()
        with pytest.raises(HypervisorError):
            target.fetch(guest, source, 8, quiet())
        assert find(other, guest.id) is None
