"""oslo.messaging's RabbitMQ driver, with senders whom the broker vouches for.

Each message carries its sender's user in AMQP's ``user_id``, which RabbitMQ refuses when it is
not the connection's own user. The receiver finds it in the context as ``auth_user``, whatever the
sender wrote there. With ``ssl`` the broker's certificate and name are always verified. The rest
here bounds waits that the driver leaves open: connecting for replies and for listening, noticing
that it shall stop, sending a call whose time is over, and answering a caller again whose queue was
away.
"""

from __future__ import annotations

import functools
import ssl
import uuid
from typing import Any

import oslo_messaging
from oslo_messaging._drivers import amqpdriver, base, common, impl_rabbit

from paddock.deadline import Deadline

CONNECT_RETRIES = 2
CONSUME_SECONDS = 1.0
GONE_SECONDS = 1.0
"""How long a caller whose queue is not there gets no answers; its next queue has the same name."""


class _EachBroker(dict[str, Any]):
    """Asks for the name of each broker: kombu puts the current one in only where it finds none,
    and what it put in stays when it goes on to the next."""

    def __getitem__(self, key: str) -> Any:
        return None if key == "server_hostname" else super().__getitem__(key)


class Connection(impl_rabbit.Connection):  # type: ignore[misc]
    """A connection whose messages name its user."""

    def __init__(self, conf: Any, url: Any, purpose: str, retry: int | None = None) -> None:
        super().__init__(conf, url, purpose, CONNECT_RETRIES if retry is None else retry)

    def _fetch_ssl_params(self) -> Any:
        """oslo.messaging's own verifies no names without ``ssl_ca_file``, or of several brokers."""
        given = super()._fetch_ssl_params()
        if not given:
            return given
        options = {} if given is True else given
        required = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
        return _EachBroker(options | required)

    def _set_current_channel(self, new_channel: Any) -> None:
        before = self._producer
        super()._set_current_channel(new_channel)
        if self._producer is not before:
            user = self.connection.userid
            self._producer.publish = functools.partial(self._producer.publish, user_id=user)

    def _publish(
        self,
        exchange: Any,
        msg: Any,
        routing_key: str | None = None,
        timeout: float | None = None,
        transport_options: Any = None,
    ) -> None:
        if isinstance(timeout, Deadline):
            timeout = timeout.left()
            if not timeout:
                raise oslo_messaging.MessagingTimeout("No time is left to send the message")
        super()._publish(exchange, msg, routing_key, timeout, transport_options)

    def consume(self, timeout: float | None = None) -> None:
        """Wait for messages, but return often enough to see that nobody wants more."""
        super().consume(min(timeout or CONSUME_SECONDS, CONSUME_SECONDS))


class GoneQueues(amqpdriver.ObsoleteReplyQueuesCache):  # type: ignore[misc]
    """Reply queues that were not there, so that not every answer waits for them."""

    TTL = GONE_SECONDS


class Listener(amqpdriver.RpcAMQPListener):  # type: ignore[misc]
    """Puts the broker's word for the sender into the context."""

    def __init__(self, driver: Driver, connection: Connection) -> None:
        super().__init__(driver, connection)
        self._obsolete_reply_queues = GoneQueues()

    def __call__(self, message: Any) -> None:
        message["_context_auth_user"] = message._raw_message.properties.get("user_id")
        super().__call__(message)


class Driver(impl_rabbit.RabbitDriver):  # type: ignore[misc]
    """The driver for ``rabbit://``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connection_pool.connection_cls = Connection

    def _get_reply_queue_name(self) -> str:
        # The driver's queue manager names them so too, but keeps its counter in /dev/shm.
        options = self.conf.oslo_messaging_rabbit
        return f"reply_{options.hostname}:{options.processname}:{uuid.uuid4().int >> 64}"

    def listen(
        self, target: oslo_messaging.Target, batch_size: int, batch_timeout: float | None
    ) -> base.PollStyleListenerAdapter:
        """Listen on a topic's queue and on the server's own; nothing is sent to all servers."""
        connection = self._get_connection(common.PURPOSE_LISTEN)
        listener = Listener(self, connection)
        for topic in (target.topic, f"{target.topic}.{target.server}"):
            connection.declare_topic_consumer(
                exchange_name=self._get_exchange(target), topic=topic, callback=listener
            )
        return base.PollStyleListenerAdapter(listener, batch_size, batch_timeout)
