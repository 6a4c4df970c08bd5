"""Machines in memory: what outlives agents, and what must never be seen on them.

Disks carry a counter of what guests wrote to them, so that a machine which is started from an old
copy is found out; domains know which action launched them, so that a request which takes effect
twice is found out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from compute_agent.drivers.base import Launch
from paddock.actions import Seen
from paddock.records import Found, GuestSpec
from tests.simulation.files import Disk
from tests.simulation.scheduler import Process
from tests.simulation.witness import Witness

ALIVE = (Seen.RUNNING, Seen.PAUSED)


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


@dataclass(eq=False)
class Start:
    """A guest that its hypervisor was told to have running."""

    begun: float
    generation: int


@dataclass
class Machine:
    """A host: domains, disks as generation → what was written last, and files.

    :ivar powered: whether it has power
    :ivar sending, coming: guests on their way to another machine, and from one
    :ivar starting: guests that the hypervisor is about to have running, whoever asked for it
    """

    name: str
    zone: str
    domains: dict[str, Domain] = field(default_factory=dict)
    disks: dict[str, dict[int, int]] = field(default_factory=dict)
    disk: Disk = field(default_factory=Disk)
    powered: bool = True
    starting: dict[str, Start] = field(default_factory=dict)
    sending: dict[str, Any] = field(default_factory=dict)
    coming: set[str] = field(default_factory=set)
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
        return [self._found(key) for key in sorted(keys | {*self.domains, *self.starting})]

    def _found(self, key: str) -> Found:
        domain = self.domains.get(key)
        return Found(
            instance_id=key,
            generation=domain.generation if domain else None,
            launched_by=domain.launched_by if domain else None,
            seen=domain.seen if domain else Seen.GONE,
            disks=sorted(self.disks.get(key, {})),
            worked_on=key in self.starting or key in self.coming,
        )

    def happen(self, key: str, seen: Seen) -> None:
        """A guest changes by itself, and the hypervisor tells whoever listens."""
        domain = self.domains[key]
        if seen not in ALIVE:
            domain.ended_by = "itself"
        domain.seen = seen
        self.tell(key, seen)

    def tell(self, key: str, seen: Seen) -> None:
        """The hypervisor tells whoever listens."""
        for process, tell in self.on_change.items():
            if process.alive:
                tell(key, seen)

    def lose_power(self) -> None:
        """All guests end at once."""
        self.powered = False
        self.starting.clear()
        self.sending.clear()
        for key in self.coming:
            self.domains.pop(key, None)
        self.coming.clear()
        for domain in self.domains.values():
            if domain.seen in ALIVE:
                domain.seen, domain.ended_by = Seen.CRASHED, "itself"


class World:
    """All machines, and the highest count that any guest wrote to its disk.

    :ivar wrongs: what must never happen and did
    :ivar witness: sees what agents do
    """

    witness: Witness

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}
        self.written: dict[str, int] = {}
        self.wrongs: list[str] = []
        self._given_up: dict[str, int] = {}
        self.on_launch: Callable[[Machine, GuestSpec, bool], None] = lambda *_: None

    def define(self, machine: Machine, guest: GuestSpec, launch: Launch) -> None:
        """Make a guest known that is about to run, and see that it did not run for this before."""
        before = machine.domains.get(guest.id)
        if before and before.launched_by == launch.action_id and before.ended_by == "agent":
            self.wrongs.append(f"{guest.id[:4]} is launched twice for {launch.action_id[:4]}")
        machine.domains[guest.id] = Domain(
            guest.generation, Seen.OFF, launch.action_id, launch.cloud_id,
            launch.disk_generation, addresses=tuple(port.address for port in guest.ports),
        )  # fmt: skip

    def boot(self, machine: Machine, guest: GuestSpec, launch: Launch, hung: bool) -> None:
        """Start a guest, and see that it may.

        :param hung: it was allowed to long ago
        """
        key, disks = guest.id, machine.disks.get(guest.id, {})
        self.on_launch(machine, guest, hung)
        self._check_place(machine, key)
        there = launch.disk_generation in disks  # else it was removed while the guest started
        if there and disks[launch.disk_generation] < self.expected(key):
            self.wrongs.append(f"{key[:4]} starts on {machine.name} from an old disk")
        if there:
            self._given_up.pop(key, None)
            self.written[key] = disks[launch.disk_generation] = self.written.get(key, 0) + 1
        if key not in machine.domains:  # its definition was removed while it started
            self.define(machine, guest, launch)
        machine.domains[key].seen = Seen.RUNNING

    def expected(self, key: str) -> int:
        """What must have been written to a guest's disk at least."""
        return self._given_up.get(key, self.written.get(key, 0))

    def give_up(self, machine: Machine, homes: dict[str, str]) -> None:
        """A host is fenced: what was written there counts only where the ledger has the disk.

        A move of which nobody knows the end is undone then; its user was told that it failed.

        :param homes: instances and the hosts of their disks
        """
        for key in machine.disks.keys() & homes.keys():
            if homes[key] != machine.name:
                there = self.machines[homes[key]].disks.get(key, {})
                self._given_up[key] = max(there.values(), default=0)

    def check_alone(self, key: str, *pair: Machine) -> None:
        """See that a guest which is handed over between two machines is on no third."""
        for other in self.machines.values():
            if other not in pair and other.seen(key) in ALIVE:
                self.wrongs.append(f"{key[:4]} goes to {pair[1].name} and runs on {other.name}")

    def unpause(self, machine: Machine, key: str) -> None:
        """See that a guest may go on."""
        if machine.seen(key) is Seen.PAUSED:
            self._check_place(machine, key)

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
