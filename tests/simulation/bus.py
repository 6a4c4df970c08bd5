"""A bus that loses, doubles, delays and reorders, and cables that can be pulled."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from paddock.context import RequestContext
from paddock.errors import BusUnavailable, DatabaseUnavailable, PaddockError, from_wire
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.traps import Trap, Traps

EXPIRY_SECONDS = 5.0
HINT_SECONDS = 15.0
AGAIN_SECONDS = 0.7
ECHOES = 8


@dataclass
class Weather:
    """How likely each mishap of a message is, and how long one is under way."""

    lose_request: float = 0.0
    lose_reply: float = 0.0
    double: float = 0.0
    late: float = 0.0
    longest: float = 0.02


@dataclass
class Message:
    """A request on its way; ``reply`` is the caller's wait, None for a cast."""

    sender: Process
    topic: str
    method: str
    context: dict[str, Any]
    content: bytes
    sent: float
    expires: float
    reply: Any = None
    trap: Trap | None = None


@dataclass
class Listener:
    """Who takes messages of a topic; a deaf one takes none."""

    process: Process
    endpoint: Any
    deaf: bool = False


@dataclass
class Bus:
    """All messages.

    :ivar cut: places without a line to the broker
    :ivar wrong: told when an endpoint breaks
    :ivar say: told what happens, for the trace
    :ivar on_send: told each message
    :ivar on_answer: told each method, its arguments and its answer
    :ivar on_arrival: told each answer that its caller gets
    """

    scheduler: Scheduler
    source: random.Random
    weather: Weather = field(default_factory=Weather)
    traps: Traps = field(default_factory=Traps)
    cut: set[str] = field(default_factory=set)
    listeners: dict[str, list[Listener]] = field(default_factory=dict)
    wrong: Callable[[str], None] = lambda _: None
    say: Callable[..., None] = lambda *_: None
    on_send: Callable[[Message], None] = lambda _: None
    on_answer: Callable[[str, bytes, Any], None] = lambda *_: None
    on_arrival: Callable[[Message, bytes], None] = lambda *_: None

    def listen(self, topic: str, process: Process, endpoint: Any) -> Listener:
        """Take messages of a topic."""
        listener = Listener(process, endpoint)
        self.listeners.setdefault(topic, []).append(listener)
        return listener

    def call(
        self, topic: str, ctxt: RequestContext, method: str, timeout: float, args: dict[str, Any]
    ) -> Any:
        """Ask a conductor; BusUnavailable when no answer comes."""
        scheduler = self.scheduler
        scheduler.leave_if_dead()
        message = self._message(topic, ctxt, method, args, timeout)
        message.reply = scheduler.ticket()
        self._send(message)
        answer = scheduler.block(timeout)
        if answer is None:
            self.say(message.sender.name, method, "no answer")
            raise BusUnavailable(f"{topic} did not answer in time.")
        value, error = answer
        if error is not None:
            raise from_wire(error)
        return msgspec.json.decode(value)

    def cast(self, topic: str, ctxt: RequestContext, method: str, args: dict[str, Any]) -> None:
        """Send and forget."""
        self.scheduler.leave_if_dead()
        self._send(self._message(topic, ctxt, method, args, HINT_SECONDS))

    def _message(
        self, topic: str, ctxt: RequestContext, method: str, args: dict[str, Any], seconds: float
    ) -> Message:
        return Message(
            self.scheduler.process, topic, method, ctxt.to_dict(), msgspec.json.encode(args),
            self.scheduler.now, self.scheduler.now + seconds,
        )  # fmt: skip

    def _send(self, message: Message) -> None:
        weather, source = self.weather, self.source
        self.on_send(message)
        if message.sender.place in self.cut:
            return
        if (trap := self.traps.spring(message.method, message.sender.place)) is not None:
            self._spring(message, trap)
            return
        fate = source.random()
        if fate < weather.lose_request:
            self.say(message.sender.name, message.method, "request lost")
            return
        copies = 1
        if fate < weather.lose_request + weather.double:
            self.say(message.sender.name, message.method, "doubled")
            copies = 2
        for _ in range(copies):
            self._carry(message, self._delay())

    def _spring(self, message: Message, trap: Trap) -> None:
        self.say(message.sender.name, message.method, "TRAP", trap.fate, f"{trap.seconds:.1f}")
        if trap.fate == "lost":
            return
        late = trap.fate in ("late", "crash late")
        self._carry(message, trap.seconds if late else self._delay())
        if trap.fate == "again":
            self._carry(message, trap.seconds)
        if trap.fate == "echo":
            for _ in range(ECHOES):
                self._carry(message, self.source.random() * HINT_SECONDS)
        if trap.fate in ("reply lost", "reply late", "unknown"):
            message.trap = trap
        if trap.fate == "jump":
            self.traps.strike("jump", message.sender.place)
        if trap.fate in ("crash late", "freeze", "crash"):
            strike, place = self.traps.strike, message.sender.place
            soon = 0.0 if trap.fate == "crash late" else self._delay() * 2
            self.scheduler.after(soon, lambda: strike(trap.fate.split()[0], place))

    def _delay(self) -> float:
        if self.weather.late and self.source.random() < self.weather.late:
            return self.source.random() * EXPIRY_SECONDS
        return self.source.random() * self.weather.longest

    def _carry(self, message: Message, delay: float) -> None:
        arrival = self.scheduler.now + delay
        if arrival < message.expires:
            self.scheduler.at(arrival, lambda: self._arrive(message))

    def _arrive(self, message: Message) -> None:
        able = [
            one
            for one in self.listeners.get(message.topic, ())
            if one.process.alive and not one.deaf and one.process.place not in self.cut
        ]
        if not able:
            self._carry(message, AGAIN_SECONDS)
            return
        listener = able[int(self.source.random() * len(able))] if len(able) > 1 else able[0]
        self.scheduler.spawn(listener.process, self._handle, message.method, listener, message)

    def _handle(self, listener: Listener, message: Message) -> None:
        args = msgspec.json.decode(message.content)
        answer, error = None, None
        try:
            answer = getattr(listener.endpoint, message.method)(message.context, **args)
        except PaddockError as refused:
            error = refused.to_wire()
        else:
            self.on_answer(message.method, message.content, answer)
        if message.trap is not None and message.trap.fate == "unknown":
            error = DatabaseUnavailable("The database did not answer in time; try again.").to_wire()
        if message.reply is not None:
            self._reply(listener, message, (msgspec.json.encode(answer), error))

    def _reply(self, listener: Listener, message: Message, answer: tuple[bytes, Any]) -> None:
        self.say(listener.process.name, message.method, message.sender.name, answer)
        weather = self.weather
        if weather.lose_reply and self.source.random() < weather.lose_reply:
            self.say(listener.process.name, message.method, "reply lost")
            return
        fate = message.trap.fate if message.trap is not None else ""
        if listener.process.place in self.cut or fate == "reply lost":
            return
        delay = message.trap.seconds if fate == "reply late" and message.trap else self._delay()
        self.scheduler.after(delay, lambda: self._deliver(message, answer))

    def _deliver(self, message: Message, answer: tuple[bytes, Any]) -> None:
        if message.sender.place in self.cut or not self.scheduler.wake(message.reply, answer):
            return
        value, error = answer
        if error is None:
            self.on_arrival(message, value)


class Caller:
    """The client side of one topic, as ``paddock.rpc.Caller``."""

    def __init__(self, bus: Bus, topic: str, timeout: float = EXPIRY_SECONDS) -> None:
        self._bus = bus
        self._topic = topic
        self._timeout = timeout

    def call(self, ctxt: RequestContext, method: str, **kwargs: Any) -> Any:
        """See ``paddock.rpc``."""
        return self._bus.call(self._topic, ctxt, method, self._timeout, kwargs)

    def cast(self, ctxt: RequestContext, method: str, **kwargs: Any) -> None:
        """See ``paddock.rpc``."""
        self._bus.cast(self._topic, ctxt, method, kwargs)


class Server:
    """An agent's ``paddock.rpc.Server``."""

    def __init__(self, bus: Bus, topic: str, endpoints: list[Any], _workers: int) -> None:
        self._bus = bus
        self._topic = topic
        self._endpoint = endpoints[0]
        self.listener: Listener | None = None

    def start(self) -> None:
        """Listen."""
        self.listener = self._bus.listen(self._topic, self._bus.scheduler.process, self._endpoint)

    def stop(self, timeout: float) -> None:
        """Take no more messages."""
        if self.listener in self._bus.listeners.get(self._topic, []):
            self._bus.listeners[self._topic].remove(self.listener)

    def restart(self, timeout: float) -> None:
        """Listen anew."""
        self.stop(timeout)
        self.start()
