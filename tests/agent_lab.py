"""A whole agent with the fake driver over the in-memory bus, and a conductor's double."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from compute_agent.cmd import assemble
from compute_agent.drivers.base import Driver
from compute_agent.drivers.fake import FakeDriver
from compute_agent.epoch import EpochFile
from paddock import rpc
from paddock.actions import Seen, StepKind
from paddock.clients import AgentClient
from paddock.context import RequestContext
from paddock.records import GuestSpec
from paddock.service import Closing, Service
from tests import factories
from tests.conductor_double import ConductorDouble, Row

SOON = 10.0
T = TypeVar("T")


def eventually(found: Callable[[], T], what: str = "it", seconds: float = SOON) -> T:
    """What ``found`` gives once that is true."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
    return value


class AgentLab:
    """One host.

    :param options: further options of the group ``compute``
    """

    def __init__(self, root: Path, host: str = "h1", **options: Any) -> None:
        self.root = root
        bus = f"paddock://{uuid.uuid4().hex}/"
        self.conf = factories.agent_conf(root, host, **options)
        self.conf.set_override("transport_url", bus)
        self.conductor = ConductorDouble()
        self.driver = FakeDriver(self.conf)
        self.stale: list[bool] = []
        self.service: Service | None = None
        self.client = rpc.Client(rpc.transport(self.conf, "api"), 2.0)
        self.client.start()
        self.hints = AgentClient(self.client.to(rpc.agent_target(host)))

    def start(self, driver: Driver | None = None) -> None:
        """Start an agent process's worth of parts."""
        epochs = EpochFile(
            Path(self.conf.state_path) / "agent", Path(self.conf.compute.machine_id_file)
        )
        self.driver = FakeDriver(self.conf)
        transport = rpc.transport(self.conf, "agent")
        parts = assemble(
            self.conf,
            self.conductor,
            driver or self.driver,
            transport,
            epochs,
            lambda: self.stale.append(True),
        )
        self.service = Service("agent", [epochs, Closing(transport.cleanup), *parts])
        self.service.start()

    def started(self) -> AgentLab:
        """Start and wait until it has reconciled."""
        done = len(self.conductor.reconciles)
        self.start()
        eventually(lambda: len(self.conductor.reconciles) > done, "reconciling")
        return self

    def stop(self, timeout: float = 5.0) -> None:
        """Stop the agent; the bus stays."""
        service, self.service = self.service, None
        if service is not None:
            service.stop(timeout)

    def close(self) -> None:
        """Stop everything."""
        self.driver.control.clear()
        self.stop()
        self.client.stop(2.0)

    def guest(self, **changes: Any) -> GuestSpec:
        return factories.guest(factories.image(self.root), **changes)

    def hint(self, row: Row) -> None:
        """Cast what the API casts."""
        self.hints.run(RequestContext(), row.id, row.guest.id, row.kind, row.attempt)

    def run(self, kind: StepKind, guest: GuestSpec, **order: Any) -> Row:
        """Accept and hint a step."""
        row = self.conductor.accept(kind, guest, **order)
        self.hint(row)
        return row

    def done(self, kind: StepKind, guest: GuestSpec, **order: Any) -> Row:
        """Accept and hint a step, and wait for its success."""
        row = self.run(kind, guest, **order)
        ended(row)
        assert row.status == "succeeded", row.outcome
        return row

    def running(self, **changes: Any) -> GuestSpec:
        """A guest that runs."""
        guest = self.guest(**changes)
        self.done(StepKind.LAUNCH, guest)
        assert self.driver.seen(guest.id) is Seen.RUNNING
        return guest


def ended(row: Row) -> Row:
    """Wait until the step has an outcome."""
    eventually(lambda: row.outcome, f"the outcome of {row.kind}")
    return row
