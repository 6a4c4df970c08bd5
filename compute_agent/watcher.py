"""What looks at the host's guests and tells the conductor has in common."""

from __future__ import annotations

from dataclasses import dataclass

from compute_agent.drivers.base import Driver
from compute_agent.epoch import Identity
from compute_agent.lease import Lease
from compute_agent.memory import LastActions
from compute_agent.slots import Slots
from paddock.clients import ConductorClient


@dataclass(frozen=True)
class Around:
    """What is around a watcher.

    :ivar slots: an instance whose slot is taken is worked on
    :ivar memory: the last action on each instance that this agent knows of
    """

    identity: Identity
    conductor: ConductorClient
    driver: Driver
    slots: Slots[object]
    lease: Lease
    memory: LastActions


class Watcher:
    """Knows the host's guests, who works on them, and whom to tell."""

    def __init__(self, around: Around) -> None:
        self._identity = around.identity
        self._conductor = around.conductor
        self._driver = around.driver
        self._slots = around.slots
        self._lease = around.lease
        self._memory = around.memory
