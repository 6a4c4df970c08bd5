"""What the broker does to those who listen to it."""

from __future__ import annotations

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


class DeleteQueues(Fault):
    """The queues of a live agent are deleted."""

    subjects = tuple(f"compute-{host}" for host in HOSTS)

    def inject(self) -> None:
        host = self.part
        url = self.cloud.broker.url(host).replace("rabbit://", "amqp://")
        with kombu.Connection(url) as connection:
            channel = connection.channel()
            for name in (f"compute.{host}.{host}", f"reply_{host}:agent:1"):
                channel.queue_delete(name)


class UnbindQueue(Fault):
    """A live agent's queue hears nothing any more, though it has its consumer."""

    subjects = tuple(f"compute-{host}" for host in HOSTS)

    def inject(self) -> None:
        host = self.part
        url = self.cloud.broker.url(host).replace("rabbit://", "amqp://")
        name = f"compute.{host}.{host}"
        with kombu.Connection(url) as connection:
            connection.channel().queue_unbind(name, exchange="amq.topic", routing_key=name)
