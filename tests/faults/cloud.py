"""The cloud that faults happen to: hosts in namespaces, everything started again when it dies.

RabbitMQ, PostgreSQL, an API, conductors c1 and c2 in network namespaces of their own; hosts h1
and h2 in zone az1, h3 in az2.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from conductor.broker_users import agent_rights, api_rights, conductor_rights
from devstack import network
from devstack.api import Api
from devstack.broker import Broker
from devstack.certificates import Certificates
from devstack.control_plane import CONDUCTORS, ControlPlane
from devstack.database import Postgres
from devstack.guest.build import build
from devstack.hosts import HostNet
from devstack.place import API_ADDRESS, Place, program
from devstack.preparation import GuestNetwork
from devstack.processes import Record, wait_until
from devstack.say import say
from devstack.settings import write_settings
from tests.faults.fleet import Fleet, make_fleet
from tests.faults.keeper import Keeper
from tests.faults.pace import Pace
from tests.faults.spawner import Spawner

FIRST_BROKER_PORT = 21000
"""The broker also uses loopback, so its port must differ between clouds: one each subnet."""
DATABASE_PORT = 5432
DATABASE = "paddock"
HOSTS = 3
FIRST_CONDUCTOR_ADDRESS = 101
STOP_SECONDS = 30.0
START_SECONDS = 60.0


class FaultCloud:
    """Builds and connects all parts; :func:`devstack.teardown.take_down` ends them.

    :param directory: all its files lie there
    :param driver: ``fake`` or ``libvirt``
    :param port: the API's
    """

    def __init__(self, directory: Path, driver: str, port: int, pace: Pace) -> None:
        self.place = Place(directory.resolve())
        self.driver = driver
        self.port = port
        self.pace = pace
        self.registry = Spawner(self.place.directory)
        self.net = HostNet(
            self.place.directory, HOSTS, self.registry, Certificates(self.place.certificates)
        )
        self.keepers: dict[str, Keeper] = {}

    # --- beginning and end

    def start(self) -> None:
        """Start all parts and wait until every host is up.

        :raises RuntimeError: a part does not come up
        """
        guest = build(self.place.guest, say) if self.driver == "libvirt" else None
        self.net.up()
        self._start_broker()
        self._start_database()
        for number, name in enumerate(CONDUCTORS):
            self._make_namespace(name, FIRST_CONDUCTOR_ADDRESS + number)
        self.control = ControlPlane(
            self.place, self.registry, self.broker.url, self.database.url(DATABASE), self.port,
            self.pace.control_options(),
        )  # fmt: skip
        plan = self.net.plan
        guests = GuestNetwork(plan.guest_cidr, plan.guest_gateway, *plan.guest_range)
        self.control.prepare(guests, guest)
        self.fleet: Fleet = make_fleet(self)
        self.fleet.start()
        self.control.start()
        for host in self.fleet.hosts.values():
            host.start_agent()
        self.control.wait_ready(list(self.fleet.hosts))
        self.admin = Api(self.place.clouds, "paddock-admin")
        self._keep()

    def stop_keeping(self) -> None:
        """Start nothing again any more."""
        for keeper in self.keepers.values():
            keeper.stop()

    def wake(self) -> None:
        """Let every process go on that a fault left standing still."""
        for pid in self.registry.marked():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _start_broker(self) -> None:
        port = FIRST_BROKER_PORT + 4 * self.net.plan.subnet
        directory = self.place.directory / "broker"
        self.broker = Broker(directory, self.net.address, port, self.net.prefix, self.registry)
        rights = {"api": api_rights("api")}
        rights |= {name: conductor_rights(name) for name in CONDUCTORS}
        rights |= {host.name: agent_rights(host.name) for host in self.net.hosts()}
        self.broker.start(rights)

    def _start_database(self) -> None:
        directory = self.place.directory / "postgres"
        self.database = Postgres(directory, self.net.address, DATABASE_PORT, self.registry)
        self.database.start()
        self.database.create_database(DATABASE)

    def _make_namespace(self, conductor: str, number: int) -> None:
        """A conductor's own network, so that it alone can be cut off from something."""
        name = self.namespace(conductor)
        network.make_namespace(name)
        network.plug(self.net.control_bridge, f"{name}v", name, "eth0")
        network.set_address(name, "eth0", self.net.plan.control(number))
        network.ip("-n", name, "link", "set", "lo", "up")
        self.registry.wraps[f"conductor-{conductor}"] = ["nsenter", f"--net=/run/netns/{name}"]

    def _keep(self) -> None:
        starts: dict[str, Callable[[], object]] = {
            "rabbitmq": self._restart_broker,
            "postgres": self.database.start,
            "api": self.control.start_api,
        }
        for name in CONDUCTORS:
            starts[f"conductor-{name}"] = lambda name=name: self.control.start_conductor(name)
        for host in self.fleet.hosts.values():
            starts |= host.starts()
        for name, start in starts.items():
            self.keepers[name] = Keeper(name, lambda n=name: self.registry.find(n), start)
            self.keepers[name].start()

    def _restart_broker(self) -> None:
        self.broker.kill()  # and what it left in its session
        for record in self.registry.records():
            if record.name == "rabbitmq":
                self.registry.stop(record)
        self.broker.start()

    # --- its parts

    def namespace(self, part: str) -> str:
        """The network namespace of a host or a conductor."""
        return f"{self.net.prefix}{part}"

    def process(self, name: str) -> Record | None:
        """A process that runs."""
        return self.registry.find(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal a process, if it runs."""
        if record := self.process(name):
            os.kill(record.pid, number)

    def await_end(self, name: str, timeout: float = STOP_SECONDS) -> bool:
        """Whether the process ends in time."""
        return wait_until(lambda: self.process(name) is None, timeout)

    def await_running(self, name: str, timeout: float = START_SECONDS) -> bool:
        """Whether the process runs in time; the API must also listen."""

        def runs() -> bool:
            return self.process(name) is not None and (name != "api" or self.listens())

        return wait_until(runs, timeout)

    def listens(self) -> bool:
        """Whether the API takes connections."""
        try:
            network_probe(API_ADDRESS, self.port)
        except OSError:
            return False
        return True

    def failpoints(self, name: str) -> Path:
        """Where a process's failpoints are armed."""
        return self.registry.failpoints(name)

    def connect(self) -> psycopg.Connection[Any]:
        """A connection to the ledger."""
        url = self.database.url(DATABASE).replace("postgresql+psycopg", "postgresql")
        return psycopg.connect(url, connect_timeout=5)

    def check(self, dead: Sequence[str] = ()) -> list[str]:
        """What ``paddock-manage check`` finds wrong, but that dead hosts do not answer."""
        settings = str(self.place.settings("manage"))
        command = [program("paddock-manage"), "--config-file", settings, "check"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            return []
        silent = tuple(f"host {name} did not answer" for name in dead)
        said = (done.stdout + done.stderr).splitlines()
        wrong = [line for line in said if not line.startswith(silent)]
        return wrong if wrong != [f"{len(silent)} violations."] else []

    def queues(self, *columns: str) -> list[str]:
        """What rabbitmqctl says of each queue.

        :raises RuntimeError: it says nothing
        """
        listing = self.broker.control("list_queues", *columns, "--no-table-headers")
        if listing.returncode != 0:
            raise RuntimeError(f"the broker's queues cannot be listed: {listing.stderr.strip()}")
        return listing.stdout.splitlines()

    def write_settings(self, name: str, sections: Any) -> Path:
        """Write a process's configuration."""
        return write_settings(self.place.settings(name), sections)


def network_probe(address: str, port: int) -> None:
    """Connect once; OSError when nobody listens."""
    socket.create_connection((address, port), timeout=2.0).close()
