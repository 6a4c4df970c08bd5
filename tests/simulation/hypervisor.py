"""Hypervisors in memory: what outlives agents, and what must never be seen on them.

Disks carry a counter of what guests wrote to them, so that a machine which is started from an old
copy is found out; domains know which action launched them, so that a request which takes effect
twice is found out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
from paddock.errors import GuestGone, GuestHung, HypervisorError
from paddock.records import DiskSource, Found, GuestSpec, HostFacts, Resources
from tests.simulation.files import Disk
from tests.simulation.scheduler import Process, Scheduler

ALIVE = (Seen.RUNNING, Seen.PAUSED)
PIECES = 4


@dataclass
class Domain:
    """A guest as its hypervisor has it.

    :ivar ended_by: what ended it last: ``agent`` or ``itself`` (with faults)
    """

    generation: int
    seen: Seen
    launched_by: str
    cloud_id: str
    disk: int
    ended_by: str = ""
    addresses: tuple[str, ...] = ()


@dataclass
class Machine:
    """A host: domains, disks as generation → what was written last, and files.

    :ivar powered: whether it has power
    """

    name: str
    zone: str
    domains: dict[str, Domain] = field(default_factory=dict)
    disks: dict[str, dict[int, int]] = field(default_factory=dict)
    disk: Disk = field(default_factory=Disk)
    powered: bool = True
    locked_by: Process | None = None
    offset: float = 0.0
    rate: float = 1.0
    on_change: dict[Process, Callable[[str, Seen], None]] = field(default_factory=dict)

    def seen(self, key: str) -> Seen:
        """What the guest is."""
        domain = self.domains.get(key)
        return domain.seen if domain else Seen.GONE

    def found(self, cloud_id: str | None = None) -> list[Found]:
        """Everything here."""
        keys = {key for key, disks in self.disks.items() if disks}
        return [self._found(key) for key in sorted(keys | set(self.domains))]

    def _found(self, key: str) -> Found:
        domain = self.domains.get(key)
        return Found(
            instance_id=key,
            generation=domain.generation if domain else None,
            launched_by=domain.launched_by if domain else None,
            seen=domain.seen if domain else Seen.GONE,
            disks=sorted(self.disks.get(key, {})),
        )

    def happen(self, key: str, seen: Seen) -> None:
        """A guest changes by itself, and the hypervisor tells whoever listens."""
        domain = self.domains[key]
        if seen not in ALIVE:
            domain.ended_by = "itself"
        domain.seen = seen
        for process, tell in self.on_change.items():
            if process.alive:
                tell(key, seen)

    def lose_power(self) -> None:
        """All guests end at once."""
        self.powered = False
        for domain in self.domains.values():
            if domain.seen in ALIVE:
                domain.seen, domain.ended_by = Seen.CRASHED, "itself"


class World:
    """All machines, and the highest count that any guest wrote to its disk.

    :ivar wrongs: what must never happen and did
    :ivar boots: (action, instance) → how often a guest was booted for it
    """

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}
        self.written: dict[str, int] = {}
        self.wrongs: list[str] = []
        self.boots: Counter[tuple[str, str]] = Counter()
        self.on_launch: Callable[[Machine, GuestSpec], None] = lambda _machine, _guest: None

    def boot(self, machine: Machine, guest: GuestSpec, launch: Launch) -> None:
        """Start a guest, and see that it may."""
        key, disks = guest.id, machine.disks[guest.id]
        before = machine.domains.get(key)
        self.on_launch(machine, guest)
        self._check_place(machine, key)
        if disks[launch.disk_generation] < self.written.get(key, 0):
            self.wrongs.append(f"{key[:4]} starts on {machine.name} from an old disk")
        again = before is not None and before.launched_by == launch.action_id
        if again and before and before.ended_by == "agent":
            self.wrongs.append(f"{key[:4]} is launched twice for {launch.action_id[:4]}")
        self.boots[launch.action_id, key] += 1
        self.written[key] = disks[launch.disk_generation] = self.written.get(key, 0) + 1
        machine.domains[key] = Domain(
            guest.generation, Seen.RUNNING, launch.action_id, launch.cloud_id,
            launch.disk_generation, addresses=tuple(port.address for port in guest.ports),
        )  # fmt: skip

    def _check_place(self, machine: Machine, key: str) -> None:
        for other in self.machines.values():
            if other is not machine and other.seen(key) in ALIVE:
                self.wrongs.append(f"{key[:4]} starts on {machine.name} and runs on {other.name}")

    def resume(self, machine: Machine, key: str, action_id: str) -> None:
        """Let a saved guest go on."""
        self._check_place(machine, key)
        domain = machine.domains[key]
        domain.seen, domain.launched_by = Seen.RUNNING, action_id

    def write(self, machine: Machine, key: str) -> None:
        """A guest that runs has written to its disk."""
        domain = machine.domains.get(key)
        if domain is not None and domain.seen is Seen.RUNNING:
            disks = machine.disks.get(key, {})
            if domain.disk in disks:
                self.written[key] = disks[domain.disk] = self.written.get(key, 0) + 1


class SimDriver(Driver, Pausable, Suspendable, DiskMover):
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
        self._wait("found")
        found = self._machine.found()
        self._trouble.after(self._machine, "found")
        return found

    def seen(self, instance_id: str) -> Seen:
        """See the base."""
        self._wait("seen")
        return self._machine.seen(instance_id)

    def launch(self, guest: GuestSpec, launch: Launch) -> None:
        """See the base."""
        self._wait("launch")
        disks = self._machine.disks.setdefault(guest.id, {})
        made = launch.disk_generation not in disks
        if made and guest.image is None:
            raise HypervisorError(f"There is no disk {launch.disk_generation} of {guest.id}.")
        if made:
            disks[launch.disk_generation] = 0
        try:
            self._start(guest, launch)
        except HypervisorError:
            if made and self._machine.seen(guest.id) not in ALIVE:
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
        launch.may_launch()
        if launch.disk_generation not in self._machine.disks.get(guest.id, {}):
            raise HypervisorError(f"The disk {launch.disk_generation} of {guest.id} has gone.")
        if there and there.seen is Seen.PAUSED:
            there.seen = Seen.RUNNING
        else:
            self._world.boot(self._machine, guest, launch)

    def _end(self, domain: Domain) -> None:
        if domain.seen in ALIVE:
            domain.ended_by = "agent"
        domain.seen = Seen.OFF

    def shut_down(self, instance_id: str, wait: float, work: Work) -> None:
        """See the base."""
        self._wait("shut_down", work)
        if self._machine.seen(instance_id) is Seen.RUNNING and wait:
            self._linger(self._trouble.shutting_down(wait), work)
        domain = self._machine.domains.get(instance_id)
        if domain is not None:
            self._world.write(self._machine, instance_id)
            self._end(domain)
        self._trouble.after(self._machine, "shut_down")

    def release(self, guest: GuestSpec) -> None:
        """See the base."""
        self._wait("release")
        domain = self._machine.domains.get(guest.id)
        if domain is not None and domain.seen in ALIVE:
            raise HypervisorError(f"The guest {guest.id} still runs.")
        self._machine.domains.pop(guest.id, None)
        self._trouble.after(self._machine, "release")

    def destroy(self, instance_id: str, below: int | None) -> None:
        """See the base."""
        self._wait("destroy")
        domain = self._machine.domains.get(instance_id)
        if domain is not None and (below is None or domain.generation < below):
            del self._machine.domains[instance_id]
        self._wait("destroy")
        disks = self._machine.disks.get(instance_id, {})
        kept = {g: d for g, d in disks.items() if below is not None and g >= below}
        self._machine.disks[instance_id] = kept
        self._trouble.after(self._machine, "destroy")

    def console(self, instance_id: str, length: int | None) -> str:
        """See the base."""
        return ""

    def pause(self, instance_id: str) -> None:
        """See the base."""
        self._wait("pause")
        self._move(instance_id, (Seen.RUNNING,), Seen.PAUSED)

    def unpause(self, instance_id: str) -> None:
        """See the base."""
        self._wait("unpause")
        self._move(instance_id, (Seen.PAUSED,), Seen.RUNNING)

    def suspend(self, instance_id: str, work: Work) -> None:
        """See the base."""
        self._wait("suspend", work)
        self._world.write(self._machine, instance_id)
        self._move(instance_id, ALIVE, Seen.SAVED)

    def resume(self, guest: GuestSpec, launch: Launch) -> None:
        """See the base."""
        self._wait("resume")
        seen = self._machine.seen(guest.id)
        if seen is Seen.RUNNING:
            return
        if seen not in (Seen.SAVED, Seen.PAUSED):
            raise GuestGone(f"The guest {guest.id} is {seen}.")
        launch.may_launch()
        self._world.on_launch(self._machine, guest)
        self._world.resume(self._machine, guest.id, launch.action_id)
        self._trouble.after(self._machine, "resume")

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
        if not self._machine.powered:
            self._scheduler.kill(self._process)
        if fails:
            raise GuestHung(f"The hypervisor failed in {method}.")

    def _linger(self, seconds: float, work: Work | None) -> None:
        if work is None:
            self._scheduler.sleep(seconds)
            return
        end = self._scheduler.clock() + seconds
        while (left := end - self._scheduler.clock()) > 0:
            work.check()
            self._scheduler.sleep(min(left, 1.0))
        work.check()
