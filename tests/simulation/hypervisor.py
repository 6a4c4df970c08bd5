"""A driver over machines in memory: slow, hung, failing before or after the effect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from compute_agent.drivers.base import (
    DiskMover,
    Driver,
    Launch,
    LiveMigratable,
    Pausable,
    Suspendable,
    Work,
    capabilities_of,
)
from paddock.actions import Seen
from paddock.errors import GuestGone, GuestHung, HypervisorError
from paddock.records import DiskSource, Found, GuestSpec, HostFacts, Landing, Resources
from tests.simulation.machines import ALIVE, Domain, Machine, Start, World
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.sending import Sending
from tests.simulation.trouble import LONGEST_BOOT

PATIENCE = 3.0
PIECES = 4
NOTHING = -1
"""What is in a disk that waits for its content."""
F = TypeVar("F", bound=Callable[..., Any])


def _worked(method: F) -> F:
    """A method that is work on one guest, of which an agent does one at a time."""

    @functools.wraps(method)
    def work(self: SimDriver, about: Any, *args: Any) -> Any:
        key = about if isinstance(about, str) else about.id
        with self._world.witness.working(self._process, key, method.__name__):
            return method(self, about, *args)

    return work  # type: ignore[return-value]


class SimDriver(Driver, Pausable, Suspendable, DiskMover, LiveMigratable):
    """One agent process's line to its machine's hypervisor.

    :param trouble: decides how each call goes: seconds that it takes, and whether it fails
    """

    def __init__(
        self, scheduler: Scheduler, world: World, machine: Machine, process: Process, trouble: Any
    ) -> None:
        self._scheduler = scheduler
        self._world = world
        self._machine = machine
        self._process = process
        self._trouble = trouble
        self._cloud_id = ""

    def connect(self, cloud_id: str, on_change: Callable[[str, Seen], None]) -> None:
        """See the base."""
        self._wait("connect")
        self._cloud_id = cloud_id
        self._machine.on_change[self._process] = on_change

    def close(self) -> None:
        """See the base."""
        self._machine.on_change.pop(self._process, None)

    def facts(self) -> HostFacts:
        """See the base."""
        self._wait("facts")
        return HostFacts(
            resources=Resources(vcpus=8, memory_mb=8192, disk_gb=100),
            capabilities=capabilities_of(self),
            version="1",
            store=f"sim://{self._machine.name}",
        )

    def found(self) -> list[Found]:
        """See the base."""
        with self._world.witness.looking(self._process):
            self._wait("found")
            found = self._machine.found()
            self._trouble.after(self._machine, "found")
            return found

    def seen(self, instance_id: str) -> Seen:
        """See the base."""
        self._wait("seen")
        if instance_id in self._machine.sending:
            raise GuestHung(f"The guest {instance_id} is on its way.")
        return self._machine.seen(instance_id)

    def launched_by(self, instance_id: str) -> str | None:
        """See the base."""
        self._settle(instance_id)
        return super().launched_by(instance_id)

    @_worked
    def launch(self, guest: GuestSpec, launch: Launch) -> None:
        """See the base."""
        self._wait("launch")
        self._settle(guest.id)
        disks = self._machine.disks.setdefault(guest.id, {})
        made = launch.disk_generation not in disks
        if made and guest.image is None:
            raise HypervisorError(f"There is no disk {launch.disk_generation} of {guest.id}.")
        if made:
            disks[launch.disk_generation] = 0
        try:
            self._start(guest, launch)
        except HypervisorError:
            machine = self._machine  # where it may run later on
            if made and machine.seen(guest.id) not in ALIVE and guest.id not in machine.starting:
                disks.pop(launch.disk_generation, None)
            raise
        self._trouble.after(self._machine, "launch")

    def _start(self, guest: GuestSpec, launch: Launch) -> None:
        self._wait("define")
        there = self._machine.domains.get(guest.id)
        if there and there.generation < guest.generation and there.seen in ALIVE:
            self._end(there)
        elif there and there.seen is Seen.RUNNING:
            return
        self._ask_leave(guest, launch)
        if launch.disk_generation not in self._machine.disks.get(guest.id, {}):
            raise HypervisorError(f"The disk {launch.disk_generation} of {guest.id} has gone.")
        if there and there.seen is Seen.PAUSED:
            there.seen = Seen.RUNNING
        else:
            self._boot(guest, launch)

    def _ask_leave(self, guest: GuestSpec, launch: Launch) -> None:
        launch.may_launch()
        self._world.witness.launches(self._process, guest.id, launch.action_id)

    def _boot(self, guest: GuestSpec, launch: Launch) -> None:
        """The hypervisor has the guest running in its own time, though the caller may die."""
        machine, scheduler = self._machine, self._scheduler
        key, seconds, waiting = guest.id, self._trouble.booting(machine), scheduler.ticket()
        start, hung = Start(scheduler.now, guest.generation), seconds > LONGEST_BOOT

        def run() -> None:
            ours = machine.starting.get(key) is start
            if ours:
                del machine.starting[key]
                self._world.boot(machine, guest, launch, hung)
            scheduler.wake(waiting, "runs" if ours else "was ended")

        self._world.define(machine, guest, launch)
        machine.starting[key] = start
        scheduler.after(seconds, run)
        became = scheduler.block(PATIENCE)
        self._check_power()
        if became is None:
            raise GuestHung(f"The guest {key} does not start.")
        if became != "runs":
            raise HypervisorError(f"The guest {key} {became} while it started.")

    def _settle(self, key: str) -> None:
        """Wait until a start that somebody began has ended."""
        end = self._scheduler.clock() + PATIENCE
        while key in self._machine.starting:
            if self._scheduler.clock() > end:
                raise GuestHung(f"A start of {key} goes on.")
            self._scheduler.sleep(0.1)

    def _end(self, domain: Domain) -> None:
        if domain.seen in ALIVE:
            domain.ended_by = "agent"
        domain.seen = Seen.OFF

    @_worked
    def shut_down(self, instance_id: str, wait: float, work: Work) -> None:
        """See the base."""
        self._wait("shut_down", work)
        self._settle(instance_id)
        if self._machine.seen(instance_id) is Seen.RUNNING and wait:
            self._linger(self._trouble.shutting_down(wait), work)
        domain = self._machine.domains.get(instance_id)
        if domain is not None:
            self._world.write(self._machine, instance_id)
            self._end(domain)
        self._trouble.after(self._machine, "shut_down")

    @_worked
    def release(self, instance_id: str) -> None:
        """See the base."""
        self._wait("release")
        domain = self._machine.domains.get(instance_id)
        if domain is not None and domain.seen in ALIVE:
            raise HypervisorError(f"The guest {instance_id} still runs.")
        self._machine.domains.pop(instance_id, None)
        self._trouble.after(self._machine, "release")

    def destroy(self, instance_id: str, below: int | None) -> None:
        """See the base."""
        witness = self._world.witness
        if below is not None:
            with witness.working(self._process, instance_id, "destroy"):
                self._destroy(instance_id, below)
            return
        witness.deletes(self._process, instance_id, done=False)
        self._destroy(instance_id, below)
        witness.deletes(self._process, instance_id, done=True)

    def _destroy(self, instance_id: str, below: int | None) -> None:
        self._wait("destroy")
        domain = self._machine.domains.get(instance_id)
        if domain is not None and (below is None or domain.generation < below):
            del self._machine.domains[instance_id]
        self._end_start(instance_id, below)
        self._wait("destroy")
        disks = self._machine.disks.get(instance_id, {})
        kept = {g: d for g, d in disks.items() if below is not None and g >= below}
        self._machine.disks[instance_id] = kept
        self._trouble.after(self._machine, "destroy")

    def _end_start(self, key: str, below: int | None) -> None:
        """A start that has just begun may go unseen, so that the guest runs after all."""
        start = self._machine.starting.get(key)
        if start is None or (below is not None and start.generation >= below):
            return
        is_old = self._scheduler.now - start.begun > LONGEST_BOOT
        if is_old or self._scheduler.random.random() < 0.5:
            del self._machine.starting[key]

    def console(self, instance_id: str, length: int | None) -> str:
        """See the base."""
        return ""

    @_worked
    def pause(self, instance_id: str) -> None:
        """See the base."""
        self._wait("pause")
        self._move(instance_id, (Seen.RUNNING,), Seen.PAUSED)

    @_worked
    def unpause(self, instance_id: str) -> None:
        """See the base."""
        self._wait("unpause")
        self._world.unpause(self._machine, instance_id)
        self._move(instance_id, (Seen.PAUSED,), Seen.RUNNING)

    @_worked
    def suspend(self, instance_id: str, work: Work) -> None:
        """See the base."""
        self._wait("suspend", work)
        self._world.write(self._machine, instance_id)
        self._move(instance_id, ALIVE, Seen.SAVED)

    @_worked
    def resume(self, guest: GuestSpec, launch: Launch) -> None:
        """See the base."""
        self._wait("resume")
        self._settle(guest.id)
        seen = self._machine.seen(guest.id)
        if seen is Seen.RUNNING:
            return
        if seen not in (Seen.SAVED, Seen.PAUSED):
            raise GuestGone(f"The guest {guest.id} is {seen}.")
        self._ask_leave(guest, launch)
        self._world.on_launch(self._machine, guest, False)
        self._world.resume(self._machine, guest.id, launch.action_id)
        self._trouble.after(self._machine, "resume")

    @_worked
    def open_disk(self, instance_id: str, generation: int) -> BinaryIO:
        """See the base; here disks come from the other machine itself."""
        raise HypervisorError(f"{instance_id}.g{generation} is no file.")

    def fetch(self, guest: GuestSpec, source: DiskSource, generation: int, work: Work) -> None:
        """See the base."""
        disks = self._machine.disks.setdefault(guest.id, {})
        if generation in disks:
            return
        there = self._world.machines[source.host]
        content = None
        for piece in range(PIECES):
            self._wait("fetch", work)
            if not self._trouble.reaches(self._machine, there):
                raise HypervisorError(f"The host {source.host} is out of reach.")
            now = there.disks.get(guest.id, {}).get(source.generation)
            if now is None or content not in (None, now):
                raise HypervisorError("The source's disk is not there, or was written to.")
            content = now
            work.progress((piece + 1) * 100, PIECES * 100)
        assert content is not None
        self._machine.disks.setdefault(guest.id, {})[generation] = content
        self._trouble.after(self._machine, "fetch")

    @_worked
    def receive(self, guest: GuestSpec, generation: int, work: Work) -> None:
        """See the base."""
        self._wait("receive", work)
        self._machine.disks.setdefault(guest.id, {}).setdefault(generation, NOTHING)
        self._trouble.after(self._machine, "receive")

    @_worked
    def send(self, guest: GuestSpec, landing: Landing, launch: Launch) -> None:
        """See the base."""
        self._wait("send", launch.work)
        self._end_sending(guest.id)
        domain = self._machine.domains.get(guest.id)
        if domain is None:
            return
        if domain.seen is not Seen.RUNNING:
            raise GuestGone(f"The guest {guest.id} is {domain.seen}.")
        launch.may_launch()
        sending = self._begin_sending(guest, landing, launch)
        try:
            while guest.id in self._machine.sending:
                launch.work.check()
                launch.work.progress(sending.done, 400)
                self._scheduler.sleep(0.2)
        except HypervisorError:
            self._end_sending(guest.id)
            raise
        self._check_power()
        if sending.error:
            raise HypervisorError(f"The guest {guest.id} was not sent: {sending.error}.")
        self._trouble.after(self._machine, "send")

    def _begin_sending(self, guest: GuestSpec, landing: Landing, launch: Launch) -> Sending:
        machine, trouble = self._machine, self._trouble
        there = self._world.machines[landing.host]
        sending = Sending(
            self._scheduler, self._world, machine, there, guest, launch.action_id,
            launch.disk_generation, lambda: bool(trouble.reaches(machine, there)),
            lambda: float(trouble.sending()),
        )  # fmt: skip
        sending.begin()
        return sending

    def _end_sending(self, key: str) -> None:
        """Have what a worker or a former agent began ended, which takes a moment."""
        end = self._scheduler.clock() + PATIENCE
        while (sending := self._machine.sending.get(key)) is not None:
            sending.cancelled = True
            if self._scheduler.clock() > end:
                raise GuestHung(f"The guest {key} is still on its way.")
            self._scheduler.sleep(0.1)

    @_worked
    def arrive(self, guest: GuestSpec) -> None:
        """See the base."""
        self._wait("arrive")
        domain = self._machine.domains.get(guest.id)
        came = domain is not None and domain.generation == guest.generation
        if not came or guest.id in self._machine.coming:
            raise GuestGone(f"The guest {guest.id} has not come.")
        self._trouble.after(self._machine, "arrive")

    def _move(self, key: str, before: tuple[Seen, ...], after: Seen) -> None:
        domain = self._machine.domains.get(key)
        if domain is None:
            raise GuestGone(f"The guest {key} is not here.")
        if domain.seen is not after:
            if domain.seen not in before:
                raise GuestGone(f"The guest {key} is {domain.seen}.")
            domain.seen = after
        self._trouble.after(self._machine, after)

    def _wait(self, method: str, work: Work | None = None) -> None:
        """The time that a call takes before it has its effect; it may fail instead."""
        seconds, fails = self._trouble.before(self._machine, method)
        self._linger(seconds, work)
        self._check_power()
        if fails:
            raise GuestHung(f"The hypervisor failed in {method}.")

    def _check_power(self) -> None:
        if not self._machine.powered:
            self._scheduler.kill(self._process)

    def _linger(self, seconds: float, work: Work | None) -> None:
        if work is None:
            self._scheduler.sleep(seconds)
            return
        end = self._scheduler.clock() + seconds
        while (left := end - self._scheduler.clock()) > 0:
            work.check()
            self._scheduler.sleep(min(left, 1.0))
        work.check()
