"""A real RabbitMQ keeps the bus contract, and holds its users to their rights."""

import json
import time
import uuid
from collections.abc import Callable, Iterator

import amqp.exceptions
import kombu
import pytest

from devstack.broker import Broker
from paddock import rpc
from paddock.errors import BusUnavailable
from tests.agent_lab import eventually
from tests.bus_contract import AGENT, CONDUCTOR, CTXT, BusContract, Endpoint, Wires

AWAY_SECONDS = 30.0


@pytest.fixture
def wires(rabbitmq: Broker) -> Iterator[Wires]:
    wires = Wires(rabbitmq.url)
    yield wires
    wires.close()


class TestRabbitMQ(BusContract):
    """The contract's cases."""


class TestRights:
    """What the broker refuses, whatever a process tries."""

    @pytest.fixture
    def connect(self, rabbitmq: Broker) -> Iterator[Callable[[str], kombu.Connection]]:
        made: list[kombu.Connection] = []

        def connect(user: str) -> kombu.Connection:
            url = rabbitmq.url(user).replace("rabbit://", "amqp://")
            made.append(kombu.Connection(url, transport_options={"confirm_publish": True}))
            return made[-1]

        yield connect
        for connection in made:
            connection.release()

    def test_an_agent_cannot_hint_another(
        self, wires: Wires, caplog: pytest.LogCaptureFixture
    ) -> None:
        endpoint = Endpoint()
        wires.agent(endpoint, "h2")
        thief = wires.client("h1", "h1")
        thief.to(rpc.agent_target("h2")).cast(CTXT, "note", mark="forged")
        wires.stop(thief)
        assert "Cast note to compute.h2: " in caplog.text
        wires.client().to(rpc.agent_target("h2")).cast(CTXT, "note", mark="true")
        assert endpoint.next_mark() == "true"

    def test_an_agent_cannot_read_anothers_hints(
        self, connect: Callable[[str], kombu.Connection]
    ) -> None:
        with pytest.raises(amqp.exceptions.AccessRefused):
            kombu.Queue("compute.h2.h2")(connect("h1").channel()).declare()
        exchange = kombu.Exchange("amq.topic", "topic", passive=True)
        with pytest.raises(amqp.exceptions.AccessRefused):
            kombu.Queue(
                "reply_h1:agent:1", exchange, routing_key="compute.h2.h2", auto_delete=True
            )(connect("h1").channel()).declare()

    def test_an_agent_cannot_write_to_any_queue_directly(
        self, connect: Callable[[str], kombu.Connection]
    ) -> None:
        with pytest.raises(amqp.exceptions.AccessRefused):
            connect("h1").Producer().publish("{}", exchange="", routing_key="conductor-api")

    def test_a_forged_sender_is_refused(self, connect: Callable[[str], kombu.Connection]) -> None:
        with pytest.raises(amqp.exceptions.PreconditionFailed):
            connect("h1").Producer().publish(
                "{}", exchange="amq.direct", routing_key="conductor-api", user_id="api"
            )


class TestReplyQueues:
    """A caller's queue is away, as after the broker's restart, and comes back."""

    REPLIES = "reply_h1:agent:77"

    def call(self, broker: kombu.Connection) -> None:
        """Ask the conductor for an echo, as a client whose replies go to that queue."""
        asked = {
            "method": "echo", "args": {"value": 1}, "version": "1.0", "_timeout": 5,
            "_msg_id": uuid.uuid4().hex, "_reply_q": self.REPLIES, "_unique_id": uuid.uuid4().hex,
        }  # fmt: skip
        broker.Producer().publish(
            {"oslo.version": "2.0", "oslo.message": json.dumps(asked)},
            exchange="amq.direct", routing_key=CONDUCTOR.topic, user_id="h1",
        )  # fmt: skip

    def test_answers_arrive_again_soon_after_it_is_back(
        self, rabbitmq: Broker, wires: Wires, caplog: pytest.LogCaptureFixture
    ) -> None:
        wires.conductor(Endpoint())
        url = rabbitmq.url("h1").replace("rabbit://", "amqp://")
        with kombu.Connection(url) as broker:
            self.call(broker)
            eventually(lambda: "missing queue" in caplog.text, "giving up", AWAY_SECONDS)
            replies = kombu.Queue(self.REPLIES, channel=broker.channel(), auto_delete=True)
            replies.declare()

            def answered() -> bool:
                self.call(broker)
                time.sleep(0.2)
                return replies.get(no_ack=True) is not None

            eventually(answered, "an answer", AWAY_SECONDS)


class TestOutage:
    """The broker goes away without a word and comes back."""

    def test_calls_stay_bounded_and_queued_hints_survive(
        self, rabbitmq: Broker, wires: Wires
    ) -> None:
        endpoint, hints = Endpoint(), Endpoint()
        wires.conductor(endpoint)
        wires.stop(wires.agent(hints))
        client = wires.client()
        caller = client.to(CONDUCTOR, timeout=2.0)
        client.to(AGENT).cast(CTXT, "note", mark="before")
        assert caller.call(CTXT, "echo", value=1) == 1

        rabbitmq.kill()
        for some in (caller, wires.client().to(CONDUCTOR, timeout=2.0)):
            begun = time.monotonic()
            with pytest.raises(BusUnavailable):
                some.call(CTXT, "echo", value=2)
            assert time.monotonic() - begun < 2.5
        client.to(AGENT).cast(CTXT, "note", mark="lost")

        rabbitmq.start()
        wires.agent(hints)
        assert hints.next_mark(timeout=AWAY_SECONDS) == "before"
        assert self._call_until_answered(caller) == 3

    @staticmethod
    def _call_until_answered(caller: rpc.Caller) -> object:
        end = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < end:
            try:
                return caller.call(CTXT, "echo", value=3)
            except BusUnavailable:
                continue
        raise AssertionError(f"no answer within {AWAY_SECONDS} s of the broker's return")
