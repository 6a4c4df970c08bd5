"""How tests tell a fake hypervisor to fail, hang or be slow: a file beside its guests."""

from __future__ import annotations

from pathlib import Path

import msgspec

from compute_agent.keeping import locked, write
from paddock.records import Record


class Behaviour(Record, frozen=True, kw_only=True):
    """What a driver's method does instead of working at once.

    :ivar fail: the sentence of the HypervisorError that it raises; empty for none
    :ivar delay: seconds that it takes longer
    :ivar hang: it does nothing until this is taken back; not together with ``times``
    :ivar times: how many calls behave so; 0 for all
    """

    fail: str = ""
    delay: float = 0.0
    hang: bool = False
    times: int = 0


USUAL = Behaviour()


class Orders(Record, frozen=True, kw_only=True):
    """The file. Methods are named ``launch``, or ``launch/<instance_id>`` for one instance.

    :ivar lacks: capabilities that the driver says it has not
    """

    methods: dict[str, Behaviour] = {}
    lacks: list[str] = []


class FakeControl:
    """The orders in a directory.

    :param directory: the fake hypervisor's own
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "control.json"
        self._lock = directory / "control.lock"

    def set(self, method: str, behaviour: Behaviour, instance_id: str | None = None) -> None:
        """Let a method behave so, for one instance or for all."""
        with locked(self._lock):
            orders = self.orders()
            self._write(orders, orders.methods | {_key(method, instance_id): behaviour})

    def set_lacking(self, capabilities: list[str]) -> None:
        """Let the driver say that it has not these capabilities."""
        with locked(self._lock):
            self._write(msgspec.structs.replace(self.orders(), lacks=capabilities))

    def clear(self) -> None:
        """Let everything work as usual again."""
        self._path.unlink(missing_ok=True)

    def orders(self) -> Orders:
        """What the file says now."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Orders)
        except FileNotFoundError:
            return Orders()

    def find(self, method: str, instance_id: str) -> Behaviour:
        """How a call behaves."""
        methods = self.orders().methods
        return methods.get(_key(method, instance_id)) or methods.get(method) or USUAL

    def take(self, method: str, instance_id: str) -> Behaviour:
        """How a call behaves, counting it where only so many calls do."""
        if self.find(method, instance_id) is USUAL:
            return USUAL
        with locked(self._lock):
            orders = self.orders()
            for key in (_key(method, instance_id), method):
                if found := orders.methods.get(key):
                    self._count(orders, key, found)
                    return found
        return USUAL

    def _count(self, orders: Orders, key: str, found: Behaviour) -> None:
        if found.times == 0:
            return
        methods = {name: how for name, how in orders.methods.items() if name != key}
        if found.times > 1:
            methods[key] = msgspec.structs.replace(found, times=found.times - 1)
        self._write(orders, methods)

    def _write(self, orders: Orders, methods: dict[str, Behaviour] | None = None) -> None:
        if methods is not None:
            orders = msgspec.structs.replace(orders, methods=methods)
        write(self._path, msgspec.json.encode(orders))


def _key(method: str, instance_id: str | None) -> str:
    return f"{method}/{instance_id}" if instance_id else method
