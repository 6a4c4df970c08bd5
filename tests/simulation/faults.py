"""The faults that a plan names, each with its end."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import sqlalchemy as sa

from conductor import drains, hosts, leftovers
from conductor.db.drains import Drain
from conductor.db.models import Host
from conductor.turn import Turn, Turns
from paddock.actions import Seen
from paddock.context import RequestContext
from paddock.errors import PaddockError
from tests.simulation.cloud import AgentProcess, Cloud
from tests.simulation.machines import Machine
from tests.simulation.scheduler import Process

HOMES = "SELECT host FROM instances WHERE host IS NOT NULL AND deleted = 0"
DISK_HOSTS = "SELECT id, disk_host FROM instances WHERE disk_host IS NOT NULL AND deleted = 0"
FELT_SECONDS = 5.0
SHORT = (0.3, 1.5, 4.0)
LONG = (2.0, 6.0, 12.0, 16.0)


@dataclass(frozen=True)
class Outage:
    """A place stood still, or had no line, for a while."""

    place: str
    at: float
    until: float


class Faults:
    """Lets faults happen, and heals them.

    :param operator: turns of an administrator whose transactions always work
    :ivar outages: what befell places so far, also what will go on for a while
    :ivar wish: lets a user ask for something: a verb, or empty for anything
    """

    def __init__(self, cloud: Cloud, operator: Turns, admin: RequestContext) -> None:
        self._cloud = cloud
        self._operator = operator
        self._admin = admin
        self._frozen: list[Process] = []
        self._chosen = ("", "")
        self.outages: list[Outage] = []
        self.wish: Callable[[str], None] = lambda _: None

    def happen(self, what: str, source: random.Random, chosen: str = "") -> None:
        """Let a fault happen.

        :param chosen: ``place:seconds``, of which either may be missing; the place is ``home``,
            where an instance is, or ``other``
        """
        place, _, seconds = chosen.partition(":")
        self._chosen = (place, seconds)
        getattr(self, f"_{what.replace(' ', '_')}")(source)
        self._chosen = ("", "")

    def strike(self, fate: str, place: str) -> None:
        """What a trap does to whoever is at a place: an agent, its host or a conductor."""
        cloud = self._cloud
        process = cloud.agents.get(place) or cloud.conductors.get(place)
        if fate in ("wish", "delete"):
            self.wish(fate.removeprefix("wish"))
        elif fate == "jump":
            self._jump_by(20.0)
        elif fate == "cut":
            self._cut(cloud.bus.cut, place, 16.0)
        elif fate == "freeze":
            self._freeze(process, 13.0)
        elif fate == "power" and place in cloud.world.machines:
            self._lose_power(place, 3.0)
        elif process is not None:
            self._later(0.3, lambda: self._start(place))
            self._die(process)

    def _start(self, place: str) -> None:
        if place in self._cloud.conductors:
            self._cloud.start_conductor(place)
        else:
            self._cloud.boot(place)

    def heal(self) -> None:
        """Undo every fault that is still there."""
        cloud = self._cloud
        now = cloud.scheduler.now
        self.outages = [replace(one, until=min(one.until, now)) for one in self.outages]
        cloud.trouble.heal()
        cloud.bus.weather = type(cloud.bus.weather)()
        cloud.bus.cut.clear()
        for process in self._frozen:
            cloud.scheduler.thaw(process)
        for process in [*cloud.agents.values(), *cloud.conductors.values()]:
            if process is not None:
                process.fuse = 0
        for name in sorted(cloud.conductors):
            cloud.start_conductor(name)
        for name in sorted(cloud.world.machines):
            self._return(name)
        self._change_hosts(
            lambda turn, host: hosts.resume(turn, host.name) if host.paused else None
        )
        if cloud.drains:
            self._end_drains()

    # --- processes

    def _crash_agent(self, source: random.Random) -> None:
        name = self._host(source)
        self._die(self._cloud.agents.get(name))
        self._later(self._seconds(source, SHORT), lambda: self._cloud.boot(name))

    def _fuse_agent(self, source: random.Random) -> None:
        process = self._cloud.agents.get(self._host(source))
        if process is not None:
            process.fuse = source.randint(1, 60)
            process.on_fuse = lambda: self._later(
                source.choice(SHORT), lambda: self._cloud.boot(process.place)
            )

    def _fuse_conductor(self, source: random.Random) -> None:
        process = self._conductor(source)
        if process is not None:
            process.fuse = source.randint(1, 40)
            process.on_fuse = lambda: self._later(
                source.choice(SHORT), lambda: self._cloud.start_conductor(process.name)
            )

    def _stop_agent(self, source: random.Random) -> None:
        process = self._cloud.agents.get(self._host(source))
        if process is not None and process.alive:
            self._cloud.stop(process)

    def _freeze_agent(self, source: random.Random) -> None:
        self._freeze(self._cloud.agents.get(self._host(source)), self._seconds(source, LONG))

    def _crash_conductor(self, source: random.Random) -> None:
        process = self._conductor(source)
        if process is not None:
            self._die(process)
            self._later(source.choice(SHORT), lambda: self._cloud.start_conductor(process.name))

    def _freeze_conductor(self, source: random.Random) -> None:
        self._freeze(self._conductor(source), source.choice(LONG))

    def _lose_epoch(self, source: random.Random) -> None:
        name = self._host(source)
        self._die(self._cloud.agents.get(name))
        files = self._cloud.world.machines[name].disk.files
        for path in [path for path in files if source.random() < 0.5 or "epoch" in path]:
            del files[path]
        self._cloud.boot(name)

    def _intruder(self, source: random.Random) -> None:
        """Another machine comes under a known host's name; whose an unknown one is, it decides."""
        name = self._host(source)
        if self._operator.read(lambda turn: turn.get(Host, name)) is not None:
            self._cloud.intrude(name, Machine(f"{name}-other", "az1"))

    # --- hosts

    def _power(self, source: random.Random) -> None:
        self._lose_power(self._host(source), self._seconds(source, (2.0, 13.0, 17.0)))

    def _lose_power(self, name: str, seconds: float) -> None:
        self._cloud.world.machines[name].lose_power()
        self._later(seconds, lambda: self._return(name))
        self._die(self._cloud.agents.get(name))

    def _fence(self, source: random.Random) -> None:
        """An administrator forces down only what is really off."""
        self._power(source)
        off = [m.name for m in self._cloud.world.machines.values() if not m.powered]
        down = {"forced_down": True}
        self._change_hosts(
            lambda turn, host: hosts.update(turn, host.name, down) if host.name in off else None
        )
        homes = dict(self._cloud.sessions.raw.execute(DISK_HOSTS).fetchall())
        for name in off:
            self._cloud.world.give_up(self._cloud.world.machines[name], homes)

    def _return(self, name: str) -> None:
        machine = self._cloud.world.machines[name]
        if not machine.powered:
            self._change_hosts(
                lambda turn, host: (
                    hosts.update(turn, name, {"forced_down": False})
                    if host.name == name and host.forced_down
                    else None
                )
            )
        machine.powered = True
        self._cloud.boot(name)

    def _pause_host(self, source: random.Random) -> None:
        name = self._host(source)
        self._change_hosts(
            lambda turn, host: (
                hosts.pause(turn, self._admin, name, "work") if host.name == name else None
            )
        )

    def _drain(self, source: random.Random) -> None:
        """An administrator drains a host."""
        fields = {
            "host": self._host(source),
            "max_parallel": source.choice([1, 2]),
            "target_zone": source.choice([None, "az1", "az2"]),
        }
        self._steer_by(lambda turn: drains.create(turn, self._admin, fields))

    def _steer(self, source: random.Random) -> None:
        """An administrator changes the course of a drain, if that is possible."""
        verb = source.choice([*drains.STEERING, "restore", "cancel"])
        params = {"reopen": source.random() < 0.7} if verb == "cancel" else {}
        self._steer_by(
            lambda turn: [
                drains.steer(turn, drain.id, verb, params)
                for drain in turn.all(sa.select(Drain).order_by(Drain.id))
            ]
        )

    def _end_drains(self) -> None:
        """Those that stand still, and some others, are cancelled."""

        def cancel(turn: Turn) -> None:
            for drain in turn.all(sa.select(Drain).order_by(Drain.id)):
                if drain.status == "paused" or (drain.status == "running" and drain.id < "8"):
                    drains.steer(turn, drain.id, "cancel", {})

        self._steer_by(cancel)

    def _steer_by(self, change: Callable[[Turn], object]) -> None:
        with suppress(PaddockError):
            self._operator.run(lambda turn: turn.attempt(lambda: change(turn)))

    def _guest(self, source: random.Random) -> None:
        """A guest changes by itself."""
        machine = self._cloud.world.machines[self._host(source)]
        running = sorted(k for k, d in machine.domains.items() if d.seen is Seen.RUNNING)
        if running:
            machine.happen(
                source.choice(running), source.choice([Seen.OFF, Seen.CRASHED, Seen.PAUSED])
            )

    def _hang_hypervisor(self, source: random.Random) -> None:
        name = self._host(source)
        self._cloud.trouble.hung.add(name)
        seconds = self._seconds(source, LONG)
        self._later(seconds, lambda: self._cloud.trouble.hung.discard(name))

    # --- lines and clocks

    def _cut_host(self, source: random.Random) -> None:
        self._cut(self._cloud.bus.cut, self._host(source), self._seconds(source, LONG))

    def _cut_conductor(self, source: random.Random) -> None:
        name = source.choice(sorted(self._cloud.conductors))
        self._cut(self._cloud.bus.cut, name, source.choice(LONG))

    def _cut_database(self, source: random.Random) -> None:
        cut = self._cloud.trouble.no_database
        self._cut(cut, source.choice(sorted(self._cloud.conductors)), source.choice(LONG))

    def _mute(self, source: random.Random) -> None:
        """A host's heartbeats get lost, and nothing else."""
        self._cloud.bus.traps.lose("heartbeat", self._host(source), 3)

    def _deaf(self, source: random.Random) -> None:
        for listener in self._cloud.bus.listeners.get(f"compute.{self._host(source)}", ()):
            listener.deaf = True

    def _jump(self, source: random.Random) -> None:
        self._jump_by(source.choice([-5.0, 4.0, 30.0]))

    def _jump_by(self, seconds: float) -> None:
        self._cloud.trouble.clock_jump += seconds
        for name in self._cloud.conductors:
            self._note_outage(name, 0.0)

    # --- files

    def _old_copy(self, source: random.Random) -> None:
        """Somebody brings back an older copy of a disk, and has the host clean up."""
        machines = self._cloud.world.machines
        machine = machines[self._host(source)]
        keys = sorted(
            {key for one in machines.values() for key, disks in one.disks.items() if disks}
        )
        if not keys or not machine.powered:
            return
        key = source.choice(keys)
        oldest = min(g for one in machines.values() for g in one.disks.get(key, {}))
        here = machine.disks.setdefault(key, {})
        generation = max(min(here) - 1, 0) if here else oldest
        if generation not in here:
            here[generation] = 0
            self._clean_up(machine, key, generation)

    def _clean_up(self, machine: Machine, key: str, generation: int) -> None:
        """Have a host reconcile until a copy that nobody wants is gone."""
        if generation in machine.disks.get(key, {}):
            self._change_hosts(
                lambda turn, host: (
                    leftovers.order_reconcile(turn, host.name)
                    if host.name == machine.name
                    else None
                )
            )
            self._later(4.0, lambda: self._clean_up(machine, key, generation))

    # --- how

    def sound_since(self, process: Process) -> float:
        """Since when a conductor has lived and had its lines to broker and database, and the
        database's clock has gone evenly; outages too short for its probes do not count."""
        now = self._cloud.scheduler.now
        ends = [
            min(one.until, now)
            for one in self.outages
            if one.place == process.place and one.at <= now
            and (one.until == one.at or min(one.until, now) - one.at >= FELT_SECONDS)
        ]  # fmt: skip
        return max([process.born_at, *ends])

    def _note_outage(self, place: str, seconds: float) -> None:
        now = self._cloud.scheduler.now
        self.outages.append(Outage(place, now, now + seconds))

    def _seconds(self, source: random.Random, likely: tuple[float, ...]) -> float:
        return float(self._chosen[1]) if self._chosen[1] else source.choice(likely)

    def _host(self, source: random.Random) -> str:
        names, (place, _) = sorted(self._cloud.world.machines), self._chosen
        if place:
            rows = self._cloud.sessions.raw.execute(HOMES).fetchall()
            at_home = {row[0] for row in rows}
            names = [n for n in names if (n in at_home) == (place == "home")] or names
        return source.choice(names)

    def _conductor(self, source: random.Random) -> Process | None:
        return self._cloud.conductors[source.choice(sorted(self._cloud.conductors))]

    def _die(self, process: AgentProcess | Process | None) -> None:
        if process is not None:
            self._cloud.scheduler.kill(process)

    def _freeze(self, process: Process | None, seconds: float) -> None:
        if process is not None:
            self._frozen.append(process)
            self._note_outage(process.place, seconds)
            self._cloud.scheduler.freeze(process)
            self._later(seconds, lambda: self._cloud.scheduler.thaw(process))

    def _cut(self, places: set[str], place: str, seconds: float) -> None:
        places.add(place)
        self._note_outage(place, seconds)
        self._later(seconds, lambda: places.discard(place))

    def _later(self, seconds: float, function: Callable[[], object]) -> None:
        self._cloud.scheduler.after(seconds, function)

    def _change_hosts(self, change: Callable[[Turn, Host], object]) -> None:
        """An administrator's change, made at once."""

        def change_all(turn: Turn) -> None:
            for name in sorted(self._cloud.world.machines):
                host = turn.get(Host, name)
                if host is not None:
                    change(turn, host)

        try:
            self._operator.run(lambda turn: turn.attempt(lambda: change_all(turn)))
        except PaddockError:
            return
