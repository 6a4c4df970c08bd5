"""The bus inside one process: a driver of oslo.messaging that behaves as RabbitMQ does.

``paddock://user@name/`` is the bus of that name; all transports of the process with one name
share it, and it ends with the last of them. What holds on the broker holds here: queues stay
when their server stops and hold casts meanwhile, a call expires in its queue, messages and
errors travel as JSON, a mandatory message without a queue is undeliverable, and the receiver
learns the sender's user from the bus, not from the message.
"""

from __future__ import annotations

import collections
import queue
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import Any, ClassVar

import oslo_messaging
from oslo_messaging._drivers import base, common
from oslo_serialization import jsonutils

from paddock.deadline import Deadline

Key = tuple[str, str]


@dataclass
class Envelope:
    """A message in a queue; ``expires`` is on the monotonic clock, None for casts."""

    body: str
    sender: str | None
    replies: queue.Queue[str] | None = None
    expires: float | None = None

    def is_expired(self) -> bool:
        """Whether the caller has given up."""
        return self.expires is not None and time.monotonic() > self.expires


@dataclass
class MessageQueue:
    """Messages under one routing key of one exchange, and the listeners that take them."""

    messages: collections.deque[Envelope] = field(default_factory=collections.deque)
    listeners: list[Listener] = field(default_factory=list)


class Bus:
    """All queues of one name."""

    _named: ClassVar[weakref.WeakValueDictionary[str, Bus]] = weakref.WeakValueDictionary()
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.queues: dict[Key, MessageQueue] = {}

    @classmethod
    def named(cls, name: str) -> Bus:
        """The process's bus of that name; it lives as long as somebody holds it."""
        with cls._naming:
            bus = cls._named.get(name)
            if bus is None:
                bus = cls._named[name] = cls()
            return bus

    def publish(self, key: Key, envelope: Envelope) -> bool:
        """Append a message to the key's queue.

        :returns: False when there is no such queue
        """
        with self.lock:
            found = self.queues.get(key)
            if found is None:
                return False
            found.messages.append(envelope)
            for listener in found.listeners:
                listener.ready.notify()
            return True

    def declare(self, key: Key) -> MessageQueue:
        """The key's queue, made when it was not there."""
        with self.lock:
            return self.queues.setdefault(key, MessageQueue())

    def clear(self) -> None:
        """Forget all messages; queues and listeners stay."""
        with self.lock:
            for found in self.queues.values():
                found.messages.clear()


class Incoming(base.RpcIncomingMessage):  # type: ignore[misc]
    """A message at its server."""

    def __init__(self, envelope: Envelope) -> None:
        content = jsonutils.loads(envelope.body)
        context = content["context"] | {"auth_user": envelope.sender}
        super().__init__(context, content["message"])
        self._replies = envelope.replies

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Answer the caller, who may have left."""
        if self._replies is not None:
            error = common.serialize_remote_exception(failure) if failure else None
            self._replies.put(jsonutils.dumps({"result": reply, "failure": error}))

    def requeue(self) -> None:
        """Nothing: RPC is at most once."""

    def acknowledge(self) -> None:
        """Nothing: a message leaves its queue when it is taken."""

    def heartbeat(self) -> None:
        """Nothing: call monitoring is not used."""


class Listener(base.PollStyleListener):  # type: ignore[misc]
    """Takes messages from a server's queues."""

    def __init__(self, bus: Bus, keys: list[Key]) -> None:
        super().__init__()
        self.ready = threading.Condition(bus.lock)
        self._bus = bus
        self._stopped = False
        self._queues = [bus.declare(key) for key in keys]
        with bus.lock:
            for found in self._queues:
                found.listeners.append(self)

    @base.batch_poll_helper  # type: ignore[untyped-decorator]
    def poll(self, timeout: float | None = None) -> Incoming | None:
        """The next message; None after ``timeout`` seconds or when stopped."""
        with self._bus.lock:
            self.ready.wait_for(lambda: self._stopped or self._has_message(), timeout)
            envelope = None if self._stopped else self._take()
        return Incoming(envelope) if envelope else None

    def stop(self) -> None:
        """Take nothing more; what waits stays in its queue."""
        with self._bus.lock:
            self._stopped = True
            for found in self._queues:
                if self in found.listeners:
                    found.listeners.remove(self)
            self.ready.notify_all()

    def _has_message(self) -> bool:
        for found in self._queues:
            while found.messages and found.messages[0].is_expired():
                found.messages.popleft()
        return any(found.messages for found in self._queues)

    def _take(self) -> Envelope | None:
        for found in self._queues:
            if found.messages:
                return found.messages.popleft()
        return None


class Driver(base.BaseDriver):  # type: ignore[misc]
    """What oslo.messaging drives; registered as the transport ``paddock``."""

    def __init__(
        self,
        conf: Any,
        url: oslo_messaging.TransportURL,
        default_exchange: str | None = None,
        allowed_remote_exmods: list[str] | None = None,
    ) -> None:
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        host = url.hosts[0] if url.hosts else None
        self._user = host.username if host else None
        self._bus = Bus.named((host.hostname if host else None) or "")

    def send(
        self,
        target: oslo_messaging.Target,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        wait_for_reply: bool | None = None,
        timeout: float | None = None,
        call_monitor_timeout: float | None = None,  # noqa: ARG002 (the base class's signature)
        retry: int | None = None,  # noqa: ARG002 (as above)
        transport_options: oslo_messaging.TransportOptions | None = None,
    ) -> Any:
        """Put a message into its queue and, for a call, wait for the answer.

        :raises MessageUndeliverable: there is no such queue, and the message was mandatory
        :raises MessagingTimeout: no answer within ``timeout`` seconds
        """
        if target.fanout:
            raise NotImplementedError("Nothing is ever sent to all servers of a topic")
        exchange = target.exchange or self._default_exchange
        route = f"{target.topic}.{target.server}" if target.server else target.topic
        envelope = Envelope(jsonutils.dumps({"context": ctxt, "message": message}), self._user)
        deadline = None if timeout is None else Deadline.of(timeout)
        if wait_for_reply:
            envelope.replies = queue.Queue()
            envelope.expires = deadline.at if deadline is not None else None
        routed = self._bus.publish((exchange, route), envelope)
        if not routed and transport_options and transport_options.at_least_once:
            raise oslo_messaging.MessageUndeliverable("NO_ROUTE", exchange, route, message)
        if envelope.replies is None:
            return None
        return self._await_reply(envelope.replies, deadline, route)

    def _await_reply(self, replies: queue.Queue[str], deadline: Deadline | None, route: str) -> Any:
        left = None if deadline is None else deadline.left()
        try:
            answer = jsonutils.loads(replies.get(timeout=left))
        except queue.Empty:
            text = f"Timed out waiting for a reply from {route}"
            raise oslo_messaging.MessagingTimeout(text) from None
        if answer["failure"]:
            raise common.deserialize_remote_exception(
                answer["failure"], self._allowed_remote_exmods
            )
        return answer["result"]

    def send_notification(self, *args: Any, **kwargs: Any) -> None:
        """Notifications are not served."""
        raise NotImplementedError

    def listen(
        self, target: oslo_messaging.Target, batch_size: int, batch_timeout: float | None
    ) -> base.PollStyleListenerAdapter:
        """Declare the server's queues and take from them."""
        exchange = target.exchange or self._default_exchange
        routes = [target.topic, f"{target.topic}.{target.server}"]
        listener = Listener(self._bus, [(exchange, route) for route in routes])
        return base.PollStyleListenerAdapter(listener, batch_size, batch_timeout)

    def listen_for_notifications(self, *args: Any, **kwargs: Any) -> None:
        """Notifications are not served."""
        raise NotImplementedError

    def cleanup(self) -> None:
        """Nothing is held: the bus ends with its last driver."""
