"""The bus inside one process keeps the bus contract."""

import uuid
from collections.abc import Iterator

import pytest

from paddock.bus import Bus
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
