"""A whole cloud on one scheduler: the real conductors and the real agents."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import compute_agent.cmd
import compute_agent.epoch
import compute_agent.facts
import compute_agent.keeping
from compute_agent.epoch import EpochFile, HostTaken
from conductor import step_tickets
from conductor.agent_endpoint import AgentEndpoint
from conductor.drainer import Drainer
from conductor.judgement import Proof
from conductor.ledger_endpoint import LedgerEndpoint
from conductor.pings import Pinger
from conductor.policy import Policy
from conductor.reaper import Reaper
from conductor.senders import Senders
from conductor.turn import Hint, Turns
from paddock import failpoints
from paddock.clients import AgentClient, ConductorClient, LedgerClient
from paddock.config import load
from paddock.context import RequestContext
from paddock.service import Service, Timer
from tests.simulation import threads
from tests.simulation.bus import Bus, Caller, Server
from tests.simulation.files import File
from tests.simulation.hypervisor import SimDriver
from tests.simulation.machines import Machine, World
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.store import Store, moment
from tests.simulation.trouble import Trouble

TO_CONDUCTORS = ("conductor-agent", "conductor-api")
STOP_SECONDS = 6.0
SETTINGS: dict[str, dict[str, Any]] = {
    "DEFAULT": {"transport_url": "paddock://simulation/"},
    "conductor": {"deadline_limit": 24, "cpu_ratio": 1.0, "ping_interval": 5.0},
    "compute": {"shutdown_wait": 4.0, "workers": 3, "movers": 1},
}
ACTION_SECONDS = 15
WRITTEN = "%Y-%m-%d %H:%M:%S.%f"


def settings(host: str, zone: str) -> Any:
    """A process's configuration as plain attributes, which are read faster."""
    conf = load(overrides=SETTINGS)
    plain = SimpleNamespace(
        host=host,
        state_path=host,
        transport_url=conf.transport_url,
        call_timeout=conf.call_timeout,
        certificates=conf.certificates,
    )
    for group in ("api", "conductor", "compute", "libvirt"):
        options = getattr(conf, group)
        setattr(plain, group, SimpleNamespace(**{name: options[name] for name in options}))
    plain.compute.zone = zone
    plain.conductor.deadlines = Always(ACTION_SECONDS)
    return plain


class Always(dict[str, int]):
    """The same for every key."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self._value = value

    def get(self, key: object, default: object = None) -> Any:
        """The value."""
        return self._value


class AgentProcess(Process):
    """An agent, on a machine.

    :ivar service: once it has begun
    """

    def __init__(self, machine: Machine, name: str, host: str, machine_id: str) -> None:
        super().__init__(name, host, machine.offset, machine.rate)
        self.machine = machine
        self.machine_id = machine_id
        self.service: Service | None = None
        self.runner: Any = None
        self.stopping = False


class HostEpochs(EpochFile):
    """The epoch file with a lock that dies with its process."""

    def __init__(self, process: AgentProcess) -> None:
        super().__init__(File(process.machine.disk, "agent"), File(process.machine.disk, "id"))  # type: ignore[arg-type]
        self._process = process

    def start(self) -> None:
        """See the base."""
        self.machine_id = self._process.machine_id
        holder = self._process.machine.locked_by
        if holder is not None and holder.alive:
            raise HostTaken("Another agent runs on this machine.")
        self._process.machine.locked_by = self._process

    def stop(self, timeout: float) -> None:
        """See the base."""
        self._process.machine.locked_by = None


class Cloud:
    """All processes.

    :param source: of ids and addresses
    :param settings: configurations by host
    """

    def __init__(
        self, scheduler: Scheduler, bus: Bus, trouble: Trouble, world: World, sessions: Any,
        source: random.Random, configurations: dict[str, Any], policy: Policy,
    ) -> None:  # fmt: skip
        self.scheduler = scheduler
        self.bus = bus
        self.trouble = trouble
        self.world = world
        self.sessions = sessions
        self.random = source
        self.configurations = configurations
        self.policy = policy
        self.agents: dict[str, AgentProcess | None] = {}
        self.conductors: dict[str, Process | None] = {}
        self.api = Process("api", "api")
        self.ledger = LedgerClient(Caller(bus, "conductor-api"))
        self.reaper_interval = 1.0
        self.drains = False
        self.wrong: Callable[[str], None] = lambda _: None

    def moment(self, later: float = 0.0) -> str:
        """The database's time, as it writes it, or so many seconds later."""
        return moment(self.scheduler.now + later + self.trouble.clock_jump).strftime(WRITTEN)

    # --- agents

    def boot(self, name: str) -> None:
        """Start a host's agent, unless it runs or the host has no power."""
        machine = self.world.machines[name]
        process = self.agents.get(name)
        if machine.powered and (process is None or not process.alive):
            process = AgentProcess(machine, f"{name}'s agent", name, f"id-{name}")
            self.agents[name] = process
            self.scheduler.spawn(process, self._run_agent, "main", process)

    def intrude(self, host: str, machine: Machine) -> None:
        """Start an agent by a host's name on another machine."""
        process = AgentProcess(machine, f"{host}'s intruder", host, f"id-{machine.name}")
        self.scheduler.spawn(process, self._run_agent, "main", process)

    def _run_agent(self, process: AgentProcess) -> None:
        host = process.place
        driver = SimDriver(self.scheduler, self.world, process.machine, process, self.trouble)
        conductor = ConductorClient(Caller(self.bus, "conductor-agent"))
        epochs = HostEpochs(process)
        parts = compute_agent.cmd.assemble(
            self.configurations[host], conductor, driver, self.bus, epochs,  # type: ignore[arg-type]
            lambda: self._be_stale(process),
        )  # fmt: skip
        process.service = Service(process.name, [epochs, *parts])
        process.runner = next(part for part in parts if type(part).__name__ == "Runner")
        try:
            process.service.start()
        except HostTaken:
            self.scheduler.kill(process)

    def _be_stale(self, process: AgentProcess) -> None:
        """An agent was told that another speaks for its host."""
        if self.agents.get(process.place) is process and not process.stopping:
            self.wrong(f"{process.name} is the newest and was told that it is not")
        self.stop(process)

    def stop(self, process: AgentProcess) -> None:
        """Let an agent end in order, and be started again by its supervisor."""

        if process.stopping:
            return
        process.stopping = True

        def end() -> None:
            if process.service is not None:
                process.service.stop(STOP_SECONDS)
            self.scheduler.after(0.5, lambda: self._restart(process))
            self.scheduler.kill(process)

        self.scheduler.spawn(process, end, "stop")

    def _restart(self, process: AgentProcess) -> None:
        if self.agents.get(process.place) is process:
            self.boot(process.place)

    # --- conductors

    def start_conductor(self, name: str) -> None:
        """Start a conductor unless it runs."""
        process = self.conductors.get(name)
        if process is None or not process.alive:
            process = Process(name, name)
            process.born_at = self.scheduler.now
            self.conductors[name] = process
            self.scheduler.spawn(process, self._run_conductor, "main", process)

    def _run_conductor(self, process: Process) -> None:
        conf = self.configurations["h1"]
        store = Store(self.scheduler, process, self.sessions, self.trouble)
        turns = Turns(store, conf, self.hint, self.random)
        senders = Senders(conf)
        self.bus.listen("conductor-agent", process, AgentEndpoint(turns, senders))
        self.bus.listen("conductor-api", process, LedgerEndpoint(turns, self.policy, senders))
        proof = Proof(lambda: self._probe(process), self.scheduler.clock, conf.conductor.dead_after)
        reaper = Reaper(turns, proof, Pinger(turns, self.ping))
        Timer(reaper.round, self.reaper_interval, "reaper", at_once=False).start()
        if self.drains:
            drainer = Drainer(turns, self.reaper_interval)
            Timer(drainer.round, self.reaper_interval, "drainer", at_once=False).start()

    def _probe(self, process: Process) -> bool:
        """A call to itself through broker and database."""
        if process.place in self.bus.cut or process.place in self.trouble.no_database:
            self.scheduler.sleep(2.0)
            return False
        return self.bus.source.random() >= self.bus.weather.lose_request

    def hint(self, hint: Hint) -> None:
        """What a conductor casts after a commit."""
        self._agent(hint.host).run(
            RequestContext(), hint.step_id, hint.instance_id, hint.kind, hint.attempt
        )

    def ping(self, host: str, nonce: str) -> None:
        """A conductor's probe of an agent."""
        self._agent(host).ping(RequestContext(), nonce)

    def _agent(self, host: str) -> AgentClient:
        return AgentClient(Caller(self.bus, f"compute.{host}"))


@contextmanager
def stood_in(sources: Callable[[], random.Random], bus: Callable[[], Bus]) -> Any:
    """Let the agent's parts use memory in place of files, and the simulated bus."""
    replaced: list[tuple[Any, str, Any]] = [
        (compute_agent.cmd, "Path", _here),
        (compute_agent.cmd, "rpc", _bus(bus)),
        (compute_agent.keeping, "_sync", lambda _path: threads.Now.scheduler.may_give_way()),
        (compute_agent.epoch, "uuid", SimpleNamespace(uuid4=lambda: _uuid(sources()))),
        (compute_agent.facts, "version", lambda _name: "1"),
        (step_tickets, "secrets", SimpleNamespace(token_urlsafe=lambda _bytes: "a ticket")),
        (failpoints, "hit", lambda name: threads.Now.scheduler.pass_point(name)),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    for module, name, value in replaced:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _here(path: object) -> File:
    """A path on the machine of the running process."""
    process = threads.Now.scheduler.process
    assert isinstance(process, AgentProcess)
    return File(process.machine.disk, str(path))


def _bus(bus: Callable[[], Bus]) -> Any:
    return SimpleNamespace(
        Server=lambda _transport, target, endpoints, workers: Server(
            bus(), target, endpoints, workers
        ),
        agent_target=lambda host: f"compute.{host}",
    )


def _uuid(source: random.Random) -> uuid.UUID:
    return uuid.UUID(int=source.getrandbits(128), version=4)
