"""What agents do, against what they were told: each message and each call to a hypervisor counts.

Nothing here asks the product what it knows: only what was sent, what arrived and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tests.simulation.scheduler import Process, Scheduler

if TYPE_CHECKING:
    from tests.simulation.bus import Message

LEASE_SECONDS = 8.0  # the options' defaults
MARGIN = 0.05
DESTROY = "destroy"
PATIENCE = 7.0
"""Seconds, more than two heartbeats: what they list must have been seen to by then."""
QUEUE_SECONDS = 12.0
"""Seconds in which other calls of one kind may hold one back."""
SEEN_TO = ("start", "hand_back", "reconcile", "reconciled")
WATCHED = ("start", "finish", "heartbeat", "reconciled")


@dataclass
class Begun:
    """A step that an agent was told to do.

    :ivar at: when the answer arrived
    :ivar unlisted_at: when the answer to a later heartbeat arrived that did not list it
    """

    step: tuple[str, int]
    kind: str
    instance_id: str
    at: float
    unlisted_at: float | None = None


@dataclass
class Agent:
    """What one agent process was told.

    :ivar answered: when the last heartbeat was sent that was answered
    :ivar closed_at: since when it has to reconcile before it begins anything; None when it has
    :ivar begun: by action
    :ivar steps: by step and attempt
    :ivar open: of those, the ones whose finish is not answered
    :ivar listed: attempts that wait for this process, and since when heartbeats have said so
    :ivar sent: when a message of a method was sent last, for one attempt or at all
    :ivar looking, removing: looks at all guests that go on, and removals of what is old
    :ivar deleted: instances that it has removed for good
    """

    answered: float = float("-inf")
    closed_at: float | None = float("-inf")
    begun: dict[str, Begun] = field(default_factory=dict)
    steps: dict[tuple[str, int], Begun] = field(default_factory=dict)
    open: set[tuple[str, int]] = field(default_factory=set)
    listed: dict[tuple[str, int], float] = field(default_factory=dict)
    sent: dict[Any, float] = field(default_factory=dict)
    looking: int = 0
    removing: int = 0
    deleted: set[str] = field(default_factory=set)
    working: dict[str, list[str]] = field(default_factory=dict)


class Witness:
    """Sees messages of agents and their calls to hypervisors.

    :param wrong: told of what must never happen
    """

    def __init__(self, scheduler: Scheduler, wrong: Callable[[str], None]) -> None:
        self._scheduler = scheduler
        self._wrong = wrong
        self._agents: dict[Process, Agent] = {}

    # --- messages

    def sent(self, message: Message) -> None:
        """A process has sent a message."""
        if message.method in SEEN_TO:
            self._note_sent(message)
        if message.method == "start":
            self._check_contact(message.sender, "asks for a step")
        elif message.method == "finish":
            self._check_remains(message)

    def arrived(self, message: Message, value: bytes) -> None:
        """A process has got an answer, which is no refusal."""
        if message.method not in WATCHED:
            return
        agent, answer = self._agent(message.sender), msgspec.json.decode(value)
        if message.method == "heartbeat":
            self._hear_heartbeat(message, agent, answer)
        elif message.method == "start" and "ok" in answer[0]:
            self._hear_start(agent, answer[0]["ok"])
        elif message.method == "finish" and "ok" in answer[0]:
            (outcome,) = msgspec.json.decode(message.content)["outcomes"]
            agent.open.discard((outcome["step"]["step_id"], outcome["step"]["attempt"]))
        elif message.method == "reconciled" and message.sent >= (agent.closed_at or 0.0):
            agent.closed_at = None

    def _hear_heartbeat(self, message: Message, agent: Agent, answer: dict[str, Any]) -> None:
        now = self._scheduler.now
        if (now - agent.answered) * message.sender.rate > LEASE_SECONDS:
            agent.closed_at = now
        agent.answered = max(agent.answered, message.sent)
        listed = {(step["step_id"], step["attempt"]) for step in answer["steps"]}
        for begun in agent.steps.values():
            late = begun.at < message.sent and message.sender.thawed_at < begun.at
            if begun.unlisted_at is None and late and begun.step not in listed:
                begun.unlisted_at = now
        self._check_listed(message, agent, answer["steps"])

    def _note_sent(self, message: Message) -> None:
        sent, args = self._agent(message.sender).sent, msgspec.json.decode(message.content)
        ref = args["steps"][0] if message.method == "start" else args.get("step")
        sent[message.method] = message.sent
        if ref is not None:
            sent[message.method, ref["step_id"], ref["attempt"]] = message.sent

    def _check_listed(self, message: Message, agent: Agent, steps: list[dict[str, Any]]) -> None:
        """What heartbeats list again and again is begun or given back, unless it is held up."""
        now, before = self._scheduler.now, agent.listed
        epoch = msgspec.json.decode(message.content)["beat"]["epoch"]
        agent.listed = {}
        if agent.closed_at is not None or message.sender.stopping:  # type: ignore[attr-defined]
            return
        for step in steps:
            key = (step["step_id"], step["attempt"])
            if step["status"] == "running" and step["epoch"] == epoch:
                continue
            since = max(before.get(key, now), message.sender.thawed_at)
            agent.listed[key] = since
            method = "start" if step["status"] == "accepted" else "hand_back"
            done = agent.sent.get((method, *key), float("-inf")) >= since
            if now - since > PATIENCE and not done and not self._is_held_up(agent, step, since):
                self._wrong(f"{message.sender.name} leaves the {step['kind']} {key[0][:4]} waiting")

    def _is_held_up(self, agent: Agent, step: dict[str, Any], since: float) -> bool:
        """Whether an agent may be busy with what comes first; deletes wait for deletes only."""
        kinds = {agent.steps[key].kind for key in agent.open}
        if step["status"] == "running":
            late = self._scheduler.now - QUEUE_SECONDS
            return bool(kinds) or agent.sent.get("hand_back", float("-inf")) > late
        reconciling = [agent.sent.get(method, 0.0) for method in ("reconcile", "reconciled")]
        if agent.looking or agent.removing or max(reconciling) >= since - 5.0:
            return True  # it may have to reconcile first
        return DESTROY in kinds if step["kind"] == DESTROY else bool(kinds)

    @contextmanager
    def looking(self, process: Process) -> Iterator[None]:
        """An agent looks at all guests meanwhile, perhaps in order to remove some."""
        agent = self._agent(process)
        agent.looking += 1
        try:
            yield
        finally:
            agent.looking -= 1

    def _hear_start(self, agent: Agent, order: dict[str, Any]) -> None:
        step = (order["step_id"], order["attempt"])
        if step not in agent.steps:
            guest = order["guest"]["id"]
            agent.steps[step] = Begun(step, order["kind"], guest, self._scheduler.now)
            agent.open.add(step)
        agent.begun[order["action_id"]] = agent.steps[step]

    # --- calls to the hypervisor

    def launches(self, process: Process, instance_id: str, action_id: str) -> None:
        """An agent was just let by its own checks to launch a guest."""
        self._check_contact(process, f"launches {instance_id[:4]}")
        begun = self._agent(process).begun.get(action_id)
        if begun is None or begun.unlisted_at is None or process.thawed_at > begun.unlisted_at:
            return
        if self._scheduler.now > begun.unlisted_at + MARGIN:
            self._wrong(
                f"{process.name} launches {instance_id[:4]} for the step {begun.step[0][:4]}, "
                "which it was told is no longer wanted"
            )

    @contextmanager
    def working(self, process: Process, instance_id: str, method: str) -> Iterator[None]:
        """An agent works on a guest meanwhile: only one thing at a time."""
        going_on = self._agent(process).working.setdefault(instance_id, [])
        if going_on:
            self._wrong(
                f"{process.name} does {method} to {instance_id[:4]} in the middle of {going_on[0]}"
            )
        going_on.append(method)
        self._agent(process).removing += method == DESTROY
        try:
            yield
        finally:
            going_on.remove(method)
            self._agent(process).removing -= method == DESTROY

    def deletes(self, process: Process, instance_id: str, done: bool) -> None:
        """An agent begins to remove an instance for good, or has done so."""
        deleted = self._agent(process).deleted
        if done:
            deleted.add(instance_id)
        else:
            deleted.discard(instance_id)

    # --- what must hold

    def _check_contact(self, process: Process, what: str) -> None:
        """Out of touch for so long that it may have been given up, an agent must reconcile."""
        agent = self._agent(process)
        if agent.closed_at is not None:
            self._wrong(f"{process.name} {what} and has not reconciled since it was out of touch")
        elif (self._scheduler.now - agent.answered) * process.rate > LEASE_SECONDS + MARGIN:
            self._wrong(f"{process.name} {what} and is out of touch")

    def _check_remains(self, message: Message) -> None:
        """What a worker made of an instance that was removed meanwhile is gone when it ends."""
        agent = self._agent(message.sender)
        (outcome,) = msgspec.json.decode(message.content)["outcomes"]
        begun = agent.steps.get((outcome["step"]["step_id"], outcome["step"]["attempt"]))
        if begun is None or begun.kind == DESTROY or begun.instance_id not in agent.deleted:
            return
        kinds = {one.kind for one in agent.steps.values() if one.instance_id == begun.instance_id}
        if DESTROY not in kinds:
            return  # what was made for a machine that did not come to be was removed
        machine, key = message.sender.machine, begun.instance_id  # type: ignore[attr-defined]
        if key in machine.domains or machine.disks.get(key):
            self._wrong(f"{key[:4]} is on {machine.name} again after it was deleted there")

    def _agent(self, process: Process) -> Agent:
        return self._agents.setdefault(process, Agent())


__all__ = ["Witness"]
