"""Remote calls: transports, servers that expose only what they mean to, and bounded callers.

Contexts travel as dicts; arguments and answers are JSON values. A server's method gets the
context as a dict whose ``auth_user`` is the broker's word for the sender.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import kombu.exceptions
import oslo_messaging
from oslo_config import cfg
from oslo_messaging import Target
from oslo_messaging._metrics.client import oslo_messaging_metrics
from oslo_messaging._tracing.client import oslo_messaging_tracing
from oslo_messaging.opts import list_opts
from oslo_messaging.rpc import server as oslo_server
from oslo_messaging.transport import RPCTransport as Transport

from paddock import bus, rabbit
from paddock.clients import CONTRACT
from paddock.context import RequestContext
from paddock.deadline import Deadline
from paddock.dispatch import Dispatcher
from paddock.errors import BusUnavailable, PaddockError, ServiceUnavailable
from paddock.runtime import finish_within
from paddock.versions import Cap, Contract

__all__ = [
    "Caller",
    "Client",
    "Server",
    "Target",
    "Transport",
    "agent_target",
    "conductor_target",
    "expose",
    "transport",
]

LOG = logging.getLogger(__name__)
LISTEN_AGAIN_SECONDS = 1.0
LONGEST_PAUSE = 30.0
CALL_RETRIES = 2
CASTS_WAITING = 1000
DRIVERS = {"rabbit": rabbit.Driver, "paddock": bus.Driver}
Method = TypeVar("Method", bound=Callable[..., Any])

# Options that oslo.messaging reads from a transport's configuration without registering them there.
UNLISTED = [
    ("oslo_messaging_metrics", oslo_messaging_metrics),
    ("oslo_messaging_tracing", oslo_messaging_tracing),
]

# What held in trials with RabbitMQ, where it differs from oslo.messaging's own defaults.
RABBIT_DEFAULTS: dict[str, Any] = {
    "rabbit_quorum_queue": True,
    "rabbit_interval_max": 3,
    "rabbit_qos_prefetch_count": 8,
    "rabbit_transient_queues_ttl": 600,
    "kombu_failover_strategy": "shuffle",
    "kombu_missing_consumer_retry_timeout": 5,
    "heartbeat_timeout_threshold": 15,  # so long may pass before who only listens notices a cut
}


def expose(method: Method) -> Method:
    """Let callers call this method; all others are hidden."""
    exposed: Method = oslo_messaging.expose(method)
    return exposed


def agent_target(host: str) -> Target:
    """Where the agent of a host listens, and where hints for it go."""
    return Target(exchange="amq.topic", topic=f"compute.{host}", server=host)


def conductor_target(topic: str, server: str | None = None) -> Target:
    """Where conductors listen; without ``server``, any of them.

    :param topic: ``conductor-api`` or ``conductor-agent``
    """
    return Target(exchange="amq.direct", topic=topic, server=server)


def transport(conf: cfg.ConfigOpts, process: str) -> Transport:
    """Connect to the bus of ``transport_url``; it connects at the first use.

    The options of oslo.messaging are read from the same files into an object of their own.

    :param conf: this process's configuration
    :param process: names the role among those of the host: ``api``, ``conductor``, ``agent``
    :raises ValueError: the URL names another bus than RabbitMQ or the one inside this process
    """
    own = cfg.ConfigOpts()
    for group, listed in [*list_opts(), *UNLISTED]:
        own.register_opts(listed, group=group)
    options = RABBIT_DEFAULTS | {"hostname": conf.host, "processname": process}
    for name, value in options.items():
        own.set_default(name, value, group="oslo_messaging_rabbit")
    own([], project="paddock", default_config_files=conf.config_file, default_config_dirs=[])
    url = oslo_messaging.TransportURL.parse(own, conf.transport_url)
    if url.transport not in DRIVERS:
        raise ValueError(f"transport_url must begin with one of {', '.join(DRIVERS)}://")
    driver = DRIVERS[url.transport]
    return Transport(driver(own, url, allowed_remote_exmods=[PaddockError.__module__]))


class ContextSerializer(oslo_messaging.NoOpSerializer):  # type: ignore[misc]
    """Sends contexts as dicts; servers see the dicts."""

    def serialize_context(self, ctxt: RequestContext) -> dict[str, Any]:
        """The context's JSON values."""
        return ctxt.to_dict()


class _Listening(oslo_server.RPCServer):  # type: ignore[misc]
    """Takes a message only when a worker is free, so that the rest waits, and expires, outside."""

    def __init__(self, transport: Transport, target: Target, dispatcher: Any, workers: int) -> None:
        super().__init__(transport, target, dispatcher)
        self._free = threading.Semaphore(workers)
        self._executor_cls = ThreadPoolExecutor  # the default one polls, even when idle

    def _on_incoming(self, incoming: Any) -> None:
        self._free.acquire()
        super()._on_incoming(incoming)

    def _process_incoming(self, incoming: Any) -> None:
        try:
            super()._process_incoming(incoming)
        finally:
            self._free.release()


class Server:
    """Serves the exposed methods of some endpoints at one target.

    :param endpoints: objects with methods under :func:`expose`; each gets (context dict, **kwargs)
    :param workers: calls worked on at once
    :param version: the newest RPC version that the endpoints serve
    """

    def __init__(
        self, transport: Transport, target: Target, endpoints: Sequence[Any], workers: int,
        version: str = CONTRACT.version,
    ) -> None:  # fmt: skip
        self._transport = transport
        self._target = target
        self._endpoints = endpoints
        self._workers = workers
        self._version = version
        self._server: _Listening | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Listen; while the broker is away, try again until :meth:`stop`."""
        while not self._stopping.is_set():
            try:
                server = self._listen()
            except (kombu.exceptions.OperationalError, OSError) as error:
                LOG.warning("Cannot listen at %s: %s", self._target.topic, error)
                self._stopping.wait(LISTEN_AGAIN_SECONDS)
            else:
                self._keep(server)
                break

    def stop(self, timeout: float) -> None:
        """Take no more messages, and wait at most ``timeout`` seconds for running methods."""
        self._stopping.set()
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            self._end(server, timeout)

    def restart(self, timeout: float) -> None:
        """Listen anew, for a listener that went deaf behind a healthy connection."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            self._end(server, timeout)
            self._start_again()

    def _start_again(self) -> None:
        """Whatever the broker refuses: nobody else would try, and the process would stay deaf."""
        pause = LISTEN_AGAIN_SECONDS
        while not self._stopping.is_set():
            try:
                self.start()
                return
            except Exception:
                LOG.exception("Cannot listen at %s anew", self._target.topic)
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _listen(self) -> _Listening:
        dispatcher = Dispatcher(self._endpoints, self._version, self._target.server)
        server = _Listening(self._transport, self._target, dispatcher, self._workers)
        server.start(override_pool_size=self._workers)
        return server

    def _keep(self, server: _Listening) -> None:
        with self._lock:
            if not self._stopping.is_set():
                self._server = server
                return
        self._end(server, LISTEN_AGAIN_SECONDS)

    def _end(self, server: _Listening, timeout: float) -> None:
        def end() -> None:
            server.stop()
            server.wait()

        finish_within(end, timeout, f"server of {self._target.topic}")


class Client:
    """The sending side of a transport: bounded calls, and casts off the request's path.

    :param timeout: seconds that a call may take as a whole, connecting included
    :param calls: calls under way at once; more wait within their timeout
    """

    def __init__(self, transport: Transport, timeout: float, calls: int = 16) -> None:
        self._transport = transport
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(calls, "calls")
        self._casts: queue.Queue[tuple[Any, RequestContext, str, dict[str, Any]] | None]
        self._casts = queue.Queue(CASTS_WAITING)
        self._sender = threading.Thread(target=self._send_casts, name="casts", daemon=True)
        self._oslo = oslo_messaging.get_rpc_client(
            transport,
            Target(),
            serializer=ContextSerializer(),
            transport_options=oslo_messaging.TransportOptions(at_least_once=True),
        )

    def to(
        self, target: Target, timeout: float | None = None, cap: Cap | None = None,
        contract: Contract = CONTRACT,
    ) -> Caller:  # fmt: skip
        """A caller of one target, with another timeout in seconds if need be.

        :param cap: the newest RPC version that may be sent there; by default the first one ever
        """
        return Caller(self, target, timeout or self._timeout, cap or Cap(), contract)

    def to_agent(self, host: str, version: str) -> Caller:
        """A caller of a host's agent that serves that RPC version."""
        return self.to(agent_target(host), cap=Cap(version))

    def start(self) -> None:
        """Begin to send casts."""
        self._sender.start()

    def stop(self, timeout: float) -> None:
        """Send the waiting casts, then close the transport, in ``timeout`` seconds at most."""
        end = time.monotonic() + timeout
        if self._sender.is_alive():
            with suppress(queue.Full):
                self._casts.put(None, timeout=timeout / 4)
            self._sender.join(timeout / 4)
        self._pool.shutdown(wait=False)
        finish_within(self._transport.cleanup, end - time.monotonic(), "closing the bus")

    def call(
        self,
        target: Target,
        ctxt: RequestContext,
        method: str,
        timeout: float,
        args: dict[str, Any],
    ) -> Any:
        """See :meth:`Caller.call`."""
        deadline = Deadline(timeout)
        prepared = self._prepare(target, retry=CALL_RETRIES, timeout=deadline)
        try:
            future = self._pool.submit(prepared.call, ctxt, method, **args)
        except RuntimeError as error:  # what an executor says that was shut down
            raise BusUnavailable("This process is stopping.") from error
        try:
            return future.result(deadline.left())
        except (
            TimeoutError,
            oslo_messaging.MessagingTimeout,
            oslo_messaging.MessageDeliveryFailure,
            oslo_messaging.MessageUndeliverable,
            kombu.exceptions.OperationalError,
        ) as error:
            future.cancel()
            LOG.warning("Call %s to %s: %s", method, target.topic, type(error).__name__)
            raise BusUnavailable(f"{target.topic} did not answer in time.") from error
        except PaddockError as error:
            raise _as_raised(error) from None

    def cast(self, target: Target, ctxt: RequestContext, method: str, args: dict[str, Any]) -> None:
        """See :meth:`Caller.cast`."""
        try:
            self._casts.put_nowait((target, ctxt, method, args))
        except queue.Full:
            LOG.warning("Cast %s to %s dropped: too many wait", method, target.topic)

    def _prepare(self, target: Target, **options: Any) -> Any:
        return self._oslo.prepare(
            exchange=target.exchange,
            topic=target.topic,
            server=target.server,
            version=target.version,
            **options,
        )

    def _send_casts(self) -> None:
        while (cast := self._casts.get()) is not None:
            target, ctxt, method, args = cast
            try:
                self._prepare(target, retry=0).cast(ctxt, method, **args)
            except Exception as error:  # a lost hint heals by the next heartbeat
                LOG.warning("Cast %s to %s: %s", method, target.topic, type(error).__name__)


class Caller:
    """The client side of one target: sends what the peer understands, with its version."""

    def __init__(
        self, client: Client, target: Target, timeout: float, cap: Cap, contract: Contract
    ) -> None:
        self._client = client
        self._target = target
        self._timeout = timeout
        self._cap = cap
        self._contract = contract

    def call(self, ctxt: RequestContext, method: str, **kwargs: Any) -> Any:
        """Ask and wait for the answer.

        :raises ServiceUnavailable: the peer is too old; nothing was done
        :raises BusUnavailable: no answer within the timeout; the peer may still do it
        :raises PaddockError: the class that the method raised, with its keyword arguments
        :raises oslo_messaging.RemoteError: the method is unknown, hidden or broken
        """
        target, args = self._fit(method, kwargs)
        try:
            return self._client.call(target, ctxt, method, self._timeout, args)
        except ServiceUnavailable as error:
            if told := error.kwargs.get("rpc_version"):  # it was asked for more than it has
                self._cap.learn(str(told))
            raise

    def cast(self, ctxt: RequestContext, method: str, **kwargs: Any) -> None:
        """Send and forget: never raises, never waits; what goes wrong is logged."""
        try:
            target, args = self._fit(method, kwargs)
        except ServiceUnavailable as error:
            LOG.info("Cast to %s was not sent: %s", self._target.topic, error)
        else:
            self._client.cast(target, ctxt, method, args)

    def _fit(self, method: str, kwargs: dict[str, Any]) -> tuple[Target, dict[str, Any]]:
        version, args = self._contract.fit(method, kwargs, self._cap.version)
        return self._target(version=version), args


def _as_raised(error: PaddockError) -> PaddockError:
    """Undo oslo.messaging's renaming of remote classes, which puts tracebacks into the text."""
    kind = type(error)
    if kind.__module__.endswith("_Remote"):
        error.__class__ = kind.__bases__[0]
    return error
