"""What the broker does to those who listen to it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import kombu

from tests.faults.fault import HOSTS, Fault


class _OfBroker(Fault):
    """Something that an operator can do with rabbitmqctl."""

    subjects = ("rabbitmq",)

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl; gives what it said."""
        done = self.cloud.broker.control(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stderr.strip()[-200:]}")
        return done.stdout


class CloseConnections(_OfBroker):
    """The broker closes all connections."""

    def inject(self) -> None:
        self.control("close_all_connections", "a test closes them")


class MemoryAlarm(_OfBroker):
    """The broker has no memory left and lets nobody publish."""

    usual = 15.0

    def inject(self) -> None:
        self.control("set_vm_memory_high_watermark", "absolute", "1MB")

    def heal(self) -> None:
        self.control("set_vm_memory_high_watermark", "0.4")


class _OfQueues(Fault):
    """Something that happens to a live agent's queues, by the broker's hand."""

    subjects = tuple(f"compute-{host}" for host in HOSTS)

    @property
    def parts(self) -> frozenset[str]:
        return frozenset({self.part, "rabbitmq"})

    def inject(self) -> None:
        url = self.cloud.broker.url(self.part).replace("rabbit://", "amqp://")
        with kombu.Connection(url) as connection:
            self.spoil(connection.channel(), f"compute.{self.part}.{self.part}")

    @abstractmethod
    def spoil(self, channel: Any, queue: str) -> None:
        """Do it.

        :param queue: the agent's own
        """


class DeleteQueues(_OfQueues):
    """The queues of a live agent are deleted."""

    def spoil(self, channel: Any, queue: str) -> None:
        replies = f"reply_{self.part}:agent:"
        names = [name for name in self.cloud.queues("name") if name.startswith(replies)]
        self.detail, self.missed = f"{len(names)} for answers", not names
        for name in (queue, *names):
            channel.queue_delete(name)


class UnbindQueue(_OfQueues):
    """A live agent's queue hears nothing any more, though it has its consumer."""

    def spoil(self, channel: Any, queue: str) -> None:
        channel.queue_unbind(queue, exchange="amq.topic", routing_key=queue)
