"""The bus inside one process keeps the bus contract."""

import time
import uuid
from collections.abc import Iterator

import oslo_messaging
import pytest

from paddock import config, rpc
from paddock.bus import Bus
from paddock.deadline import Deadline
from tests.bus_contract import BusContract, Wires


class TestBusInOneProcess(BusContract):
    @pytest.fixture
    def wires(self) -> Iterator[Wires]:
        name = uuid.uuid4().hex
        bus = Bus.named(name)  # a bus ends with its last holder
        wires = Wires(lambda user: f"paddock://{user}@{name}/")
        yield wires
        wires.close()
        del bus


def test_a_call_that_waited_to_be_sent_waits_less_for_its_answer() -> None:
    name = uuid.uuid4().hex
    bus = Bus.named(name)
    bus.declare(("amq.direct", "conductor-api"))  # where nobody listens
    settings = {"transport_url": f"paddock://api@{name}/", "host": "ctl"}
    transport = rpc.transport(config.load(overrides={"DEFAULT": settings}), "api")
    deadline = Deadline(0.6)
    time.sleep(0.4)
    target = oslo_messaging.Target(exchange="amq.direct", topic="conductor-api")
    with pytest.raises(oslo_messaging.MessagingTimeout):
        transport._driver.send(target, {}, {}, wait_for_reply=True, timeout=deadline)
    assert time.monotonic() < deadline.at + 0.3
