"""One seeded schedule over the real ledger: users, agents, conductors and faults take turns."""

from __future__ import annotations

import functools
import random
from collections import deque
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from conductor.db.models import Action, Host, Instance, Leftover, Step
from conductor.invariants import rules
from paddock.actions import ACTIONS, Seen, VmState
from paddock.errors import PaddockError
from paddock.records import LiveStep, Ticket
from tests.fixtures.ledger import Clock, Ledger
from tests.fixtures.model_agent import Machine, World
from tests.simulation.agent import SimAgent, power_cut
from tests.simulation.network import Network

ZONES = {"h1": "az1", "h2": "az1", "h3": "az2"}
ODD_VERBS = ("os-resetState", "delete", "lock", "unlock")
SIMULATED = {"deadlines": dict.fromkeys(ACTIONS, "20"), "deadline_limit": 60, "cpu_ratio": 1.0}
INSTANCES = 3
TRACE = 60


@functools.cache
def compiled_rules() -> list[tuple[str, str]]:
    """The invariants as SQLite's SQL, once: they are asked after every single act."""
    options, dialect = {"literal_binds": True}, sqlite.dialect()
    compiled = [(query.compile(dialect=dialect, compile_kwargs=options), t) for query, t in rules()]
    return [(str(query), text) for query, text in compiled]


class Broken(AssertionError):
    """Something that must always hold does not."""


class Schedule:
    """A run of one seed.

    :param ledger: with an empty database
    """

    def __init__(self, ledger: Ledger, seed: int) -> None:
        assert ledger.clock is not None
        self.ledger = ledger
        self.clock: Clock = ledger.clock
        self.random = random.Random(seed)
        self.network = Network(self.clock, self.random)
        self.world = World()
        self.agents: dict[str, SimAgent | None] = {}
        self.off: set[str] = set()
        self.instances: list[str] = []
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.trace: deque[str] = deque(maxlen=TRACE)
        self.reapers = [ledger.reaper(), ledger.reaper()]
        self._flavor = ledger.flavor(vcpus=2, memory_mb=1024, disk_gb=10)
        self._rules = compiled_rules()
        for name, zone in ZONES.items():
            self.world.machines[name] = Machine(name, zone)
            self._boot(name)

    def run(self, steps: int) -> None:
        """Take so many random turns, then heal everything and see that it comes to rest."""
        self._settle_in()
        for _ in range(steps):
            self._turn(self.random.choice(self._choices()))
        self._heal()
        self._check_rest()

    def _turn(self, act: Callable[[], None]) -> None:
        act()
        self._check(act.__name__)

    def _choices(self) -> Sequence[Callable[[], None]]:
        return (
            *[self._agent_acts] * 16, *[self._user_asks] * 3, *[self._hint] * 3,
            *[self._time_passes] * 2, self._reap, self._user_creates, self._ask_again,
            self._late, self._fault,
        )  # fmt: skip

    # --- users

    def _user_creates(self) -> None:
        if len(self.instances) >= INSTANCES:
            return
        try:
            self._say("create")
            for ticket in self.ledger.create(flavor_id=self._flavor):
                self._note_ticket(ticket)
                self.instances.append(ticket.instance_id)
        except PaddockError as error:
            self._say(f"refused: {error.message}")

    def _user_asks(self) -> None:
        if not self.instances:
            return
        instance_id = self.random.choice(self.instances)
        verb = self._fitting_verb(self.ledger.instance(instance_id))
        params = {}
        if verb == "vm-poweron" and self.random.random() < 0.7:
            params = {"availability_zone": self.random.choice(["az1", "az2"])}
        if verb == "os-resetState":
            params = {"state": self.random.choice(["active", "error"])}
        wish = (instance_id, verb, params, self.ledger.new_id())
        self.asked.append(wish)
        self._ask(wish)

    def _fitting_verb(self, instance: Instance) -> str:
        """Mostly one that the instance's state allows, so that much happens."""
        dice = self.random.random()
        if dice < 0.1:
            return self.random.choice(sorted(ACTIONS.keys() - {"create"}))
        if dice < 0.2:
            return self.random.choice(ODD_VERBS)
        state = instance.vm_state
        fitting = [one.verb for one in ACTIONS.values() if one.allowed and state in one.allowed]
        off = [verb for verb in fitting if verb.startswith("vm-power")]
        return self.random.choice(fitting + 3 * off or ["delete"])

    def _ask_again(self) -> None:
        """A reply was lost: the same id gets the same answer."""
        if self.asked:
            self._ask(self.random.choice(self.asked))

    def _ask(self, wish: tuple[str, str, dict[str, str], str]) -> None:
        instance_id, verb, params, action_id = wish
        before = self.ledger.row(Action, action_id)
        answer = self.ledger.ask(
            instance_id, verb, self.ledger.admin, action_id=action_id, **params
        )
        self._say(f"{verb} {params} {instance_id[:4]}: {answer}")
        if isinstance(answer, Ticket):
            self._note_ticket(answer)
        if before is not None and isinstance(answer, Ticket) == (before.status == "refused"):
            raise Broken(f"action {action_id} was answered differently")

    def _note_ticket(self, ticket: Ticket) -> None:
        if ticket.step_id and ticket.host and ticket.kind:
            live = LiveStep(
                step_id=ticket.step_id, action_id=ticket.action_id, attempt=1, epoch=None,
                instance_id=ticket.instance_id, kind=ticket.kind, status="accepted",
            )  # fmt: skip
            self._deliver(ticket.host, live)

    # --- agents and their hosts

    def _deliver(self, host: str, live: LiveStep) -> None:
        agent = self.agents.get(host)
        if agent and host not in self.network.cut and self.random.random() < 0.8:
            agent.offer(live)

    def _hint(self) -> None:
        if self.ledger.hints:
            hint = self.ledger.hints.pop(self.random.randrange(len(self.ledger.hints)))
            step = self.ledger.row(Step, hint.step_id)
            live = LiveStep(
                step_id=step.id, action_id=step.action_id, attempt=hint.attempt, epoch=None,
                instance_id=step.instance_id, kind=step.kind, status="accepted",
            )  # fmt: skip
            self._deliver(hint.host, live)

    def _agent_acts(self) -> None:
        """One of the things that agents have to do now."""
        acts = [(name, act) for name, agent in self.agents.items() if agent for act in agent.acts()]
        if acts:
            self._act(*self.random.choice(acts))

    def _act(self, name: str, act: str) -> None:
        agent = self.agents[name]
        if agent is None:
            return
        self._say(f"{name} {act} {len(agent.tasks)} tasks")
        agent.act(act)
        if agent.stale:
            self.agents[name] = None

    def _boot(self, name: str) -> None:
        self.agents[name] = SimAgent(
            self.ledger.agents, self.world, self.world.machines[name], self.ledger.new_id(),
            self.clock, self.network, self.random,
        )  # fmt: skip

    # --- conductors, time and faults

    def _reap(self) -> None:
        self._say("reap")
        self.random.choice(self.reapers).round()

    def _time_passes(self) -> None:
        self.clock.advance(self.random.choice([0.5, 1.0, 2.0, 3.0, 6.0]))

    def _late(self) -> None:
        if self.network.deliver_late():
            self._say("something late arrives")

    def _fault(self) -> None:
        faults = (
            self._crash, self._crash, self._start_agent, self._start_agent, self._power_cut,
            self._cut_cable, self._mend_cable, self._mend_cable, self._jump, self._fence,
            self._guest_ends, self._guest_ends, self._pause, self._silence,
        )  # fmt: skip
        fault = self.random.choice(faults)
        self._say(fault.__name__)
        fault(self.random.choice(sorted(ZONES)))

    def _crash(self, name: str) -> None:
        self.agents[name] = None

    def _start_agent(self, name: str) -> None:
        if self.agents[name] is None:
            self._set(name, forced_down=False)
            self.off.discard(name)
            self._boot(name)

    def _power_cut(self, name: str) -> None:
        self.agents[name] = None
        self.off.add(name)
        power_cut(self.world.machines[name])

    def _fence(self, name: str) -> None:
        """An administrator forces down only what is really off."""
        if name in self.off:
            self._set(name, forced_down=True)

    def _set(self, name: str, forced_down: bool) -> None:
        host = self.ledger.row(Host, name)
        if host is not None and host.forced_down != forced_down:
            state = host.state if forced_down or host.state == "down" else "reconciling"
            self.ledger.change(Host, name, forced_down=forced_down, state=state, reconcile=True)

    def _cut_cable(self, name: str) -> None:
        self.network.cut.add(name)

    def _mend_cable(self, name: str) -> None:
        self.network.cut.discard(name)

    def _jump(self, _: str) -> None:
        self.clock.jump(self.random.choice([-5.0, 4.0, 30.0]))

    def _silence(self, _: str) -> None:
        """Long enough for verdicts and deadlines."""
        for _ in range(8):
            self.clock.advance(3)
            for name in ZONES:
                if self.random.random() < 0.7:
                    self._act(name, "beat")
            self._reap()

    def _pause(self, name: str) -> None:
        host = self.ledger.row(Host, name)
        if host is not None:
            self.ledger.change(Host, name, paused=1 - host.paused)

    def _guest_ends(self, name: str) -> None:
        domains = self.world.machines[name].domains
        running = sorted(key for key, one in domains.items() if one.seen == Seen.RUNNING)
        if running:
            end = self.random.choice([Seen.OFF, Seen.CRASHED, Seen.PAUSED])
            domains[self.random.choice(running)].seen = end

    # --- coming to rest

    def _settle_in(self) -> None:
        self.network.rough = False
        for name in ZONES:
            for act in ("beat", "reconcile", "reconcile"):
                self._act(name, act)
        self._user_creates()
        self._user_creates()
        for name, agent in self.agents.items():
            for act in ("start", "work", "finish") * len(agent.tasks if agent else ()):
                self._act(name, act)
        self.network.rough = True

    def _heal(self) -> None:
        self._say("heal")
        self.network.rough = False
        self.network.cut.clear()
        while self.network.deliver_late():
            self._check("late")
        for name in ZONES:
            self._start_agent(name)
            host = self.ledger.row(Host, name)
            if host is not None:
                self.ledger.change(Host, name, paused=0)
        for _ in range(60):
            self._calm_round()
            if self._is_calm():
                break
        for agent in self.agents.values():
            self._tell_everything(agent)

    def _calm_round(self) -> None:
        self.clock.advance(2)
        for name in ZONES:
            self._start_agent(name)
            for act in ("beat", "reconcile", "reconcile", *("start", "work", "finish") * 3):
                agent = self.agents[name]
                if agent is not None and (agent.tasks or agent.ordered or act == "beat"):
                    self._turn_agent(name, act)
        if not self._is_calm():
            self.reapers[0].round()
        self._check("calm")

    def _turn_agent(self, name: str, act: str) -> None:
        self._act(name, act)
        self._check(f"calm {act}")

    def _is_calm(self) -> bool:
        live = sa.select(Step.id).where(Step.status.in_(("waiting", "accepted", "running")))
        waiting = self.ledger.rows(live.limit(1)) or self.ledger.rows(sa.select(Leftover.id))
        unwell = sa.or_(Host.state != "up", Host.reconcile)
        down = self.ledger.rows(sa.select(Host.name).where(unwell))
        busy = any(agent is None or not agent.is_idle() for agent in self.agents.values())
        return not (waiting or down or busy)

    def _tell_everything(self, agent: SimAgent | None) -> None:
        assert agent is not None
        agent.reports.clear()
        for key in sorted(agent.machine.domains):
            agent.report(key, agent.last.get(key))

    # --- what must hold

    def _say(self, what: str) -> None:
        self.trace.append(f"{self.clock.monotonic:7.1f} {what}")

    def _check(self, after: str) -> None:
        found = self._violations() + self.world.wrongs
        if found:
            raise Broken(f"after {after}: {'; '.join(found)}")

    def _violations(self) -> list[str]:
        with self.ledger.database.reader.connect() as connection:
            raw = connection.connection.cursor()
            return [text.format(*row) for query, text in self._rules for row in raw.execute(query)]

    def _check_rest(self) -> None:
        if not self._is_calm():
            raise Broken("it does not come to rest")
        for instance in self.ledger.rows(sa.select(Instance).order_by(Instance.id)):
            self._check_instance(instance)

    def _check_instance(self, instance: Instance) -> None:
        places = {
            name: machine.found() for name, machine in self.world.machines.items()
            if any(thing.instance_id == instance.id for thing in machine.found())
        }  # fmt: skip
        if set(places) - {instance.disk_host}:
            raise Broken(f"{instance.id} is left on {sorted(places)}, not {instance.disk_host}")
        if instance.disk_host is None:
            return
        machine = self.world.machines[instance.disk_host]
        disks = machine.disks.get(instance.id, {})
        if instance.vm_state != VmState.ERROR and instance.disk_generation not in disks:
            raise Broken(f"{instance.id} has lost its disk")
        if disks and disks.get(instance.disk_generation) != self.world.written.get(instance.id, 0):
            raise Broken(f"{instance.id} has an old disk")
        self._check_state(instance, machine.seen(instance.id))

    def _check_state(self, instance: Instance, seen: Seen) -> None:
        fits = {
            VmState.ACTIVE: (Seen.RUNNING,),
            VmState.PAUSED: (Seen.PAUSED,),
            VmState.SUSPENDED: (Seen.SAVED,),
            VmState.STOPPED: (Seen.OFF, Seen.CRASHED, Seen.GONE),
            VmState.POWERED_OFF: (Seen.OFF, Seen.CRASHED, Seen.GONE),
        }.get(VmState(instance.vm_state))
        if fits is not None and seen not in fits:
            raise Broken(f"{instance.id} is {instance.vm_state}, and its guest {seen}")
