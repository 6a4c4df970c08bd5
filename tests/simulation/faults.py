"""The faults that a plan names, each with its end."""

from __future__ import annotations

import random
from collections.abc import Callable

from conductor import hosts
from conductor.db.models import Host
from conductor.turn import Turn, Turns
from paddock.actions import Seen
from paddock.context import RequestContext
from paddock.errors import PaddockError
from tests.simulation.cloud import AgentProcess, Cloud
from tests.simulation.hypervisor import Machine
from tests.simulation.scheduler import Process

SHORT = (0.3, 1.5, 4.0)
LONG = (2.0, 6.0, 12.0, 16.0)


class Faults:
    """Lets faults happen, and heals them.

    :param operator: turns of an administrator whose transactions always work
    """

    def __init__(self, cloud: Cloud, operator: Turns, admin: RequestContext) -> None:
        self._cloud = cloud
        self._operator = operator
        self._admin = admin
        self._frozen: list[Process] = []

    def happen(self, what: str, source: random.Random) -> None:
        """Let a fault happen."""
        getattr(self, f"_{what.replace(' ', '_')}")(source)

    def strike(self, fate: str, place: str) -> None:
        """What a trap does to whoever is at a place: an agent, its host or a conductor."""
        cloud = self._cloud
        process = cloud.agents.get(place) or cloud.conductors.get(place)
        if fate == "cut":
            cloud.bus.cut.add(place)
            self._later(15.0, lambda: cloud.bus.cut.discard(place))
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

    # --- processes

    def _crash_agent(self, source: random.Random) -> None:
        name = self._host(source)
        self._die(self._cloud.agents.get(name))
        self._later(source.choice(SHORT), lambda: self._cloud.boot(name))

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
        self._freeze(self._cloud.agents.get(self._host(source)), source.choice(LONG))

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
        self._lose_power(self._host(source), source.choice((2.0, 13.0, 17.0)))

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
        self._later(source.choice(LONG), lambda: self._cloud.trouble.hung.discard(name))

    # --- lines and clocks

    def _cut_host(self, source: random.Random) -> None:
        self._cut(self._cloud.bus.cut, self._host(source), source)

    def _cut_conductor(self, source: random.Random) -> None:
        self._cut(self._cloud.bus.cut, source.choice(sorted(self._cloud.conductors)), source)

    def _cut_database(self, source: random.Random) -> None:
        cut = self._cloud.trouble.no_database
        self._cut(cut, source.choice(sorted(self._cloud.conductors)), source)

    def _deaf(self, source: random.Random) -> None:
        for listener in self._cloud.bus.listeners.get(f"compute.{self._host(source)}", ()):
            listener.deaf = True

    def _jump(self, source: random.Random) -> None:
        self._cloud.trouble.clock_jump += source.choice([-5.0, 4.0, 30.0])

    # --- how

    def _host(self, source: random.Random) -> str:
        return source.choice(sorted(self._cloud.world.machines))

    def _conductor(self, source: random.Random) -> Process | None:
        return self._cloud.conductors[source.choice(sorted(self._cloud.conductors))]

    def _die(self, process: AgentProcess | Process | None) -> None:
        if process is not None:
            self._cloud.scheduler.kill(process)

    def _freeze(self, process: Process | None, seconds: float) -> None:
        if process is not None:
            self._frozen.append(process)
            self._cloud.scheduler.freeze(process)
            self._later(seconds, lambda: self._cloud.scheduler.thaw(process))

    def _cut(self, places: set[str], place: str, source: random.Random) -> None:
        places.add(place)
        self._later(source.choice(LONG), lambda: places.discard(place))

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
