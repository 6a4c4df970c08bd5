"""A cloud of processes on loopback: RabbitMQ, database, conductors, API, agents without guests.

It needs no namespaces and no hypervisor: its agents have the fake driver. Benchmarks and tests of
outages use it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from conductor.broker_users import Rights, agent_rights, api_rights, conductor_rights
from devstack.broker import Broker
from devstack.control_plane import CONDUCTORS, ControlPlane, Options
from devstack.database import KINDS
from devstack.place import Place, program, zone
from devstack.preparation import GuestNetwork
from devstack.processes import Registry
from devstack.settings import Sections, write_settings

ADDRESS = "127.0.0.1"
DATABASE = "paddock"
NETWORK = GuestNetwork("10.77.0.0/16", "10.77.0.1", "10.77.1.1", "10.77.250.254")
PORTS = 5
"""Neighbouring TCP ports that it takes: the broker's three, the database's, the API's."""


class LocalCloud:
    """Builds and connects all parts; :func:`devstack.teardown.take_down` ends it.

    :param place: where its files lie
    :param first_port: the first of `PORTS` ports that nobody uses
    :param hosts: the names of its hosts; the first two thirds are in zone `az1`, the rest in `az2`
    :param control: group → option → value for the conductors and the API
    :param agents: the same for the agents
    :param others: hosts whom only the broker knows, for agents that a benchmark plays
    :param conductors: the names of its conductors
    :param database: a key of :data:`devstack.database.KINDS`
    :param database_settings: the database server's own settings
    :param users: more users of the broker, with their rights
    :param environment: variables of Paddock's processes, beside those of this one
    """

    def __init__(
        self,
        place: Place,
        first_port: int,
        hosts: Sequence[str],
        control: Options | None = None,
        agents: Mapping[str, Mapping[str, Any]] | None = None,
        others: Sequence[str] = (),
        conductors: Sequence[str] = CONDUCTORS,
        database: str = "postgresql",
        database_settings: Mapping[str, str] | None = None,
        users: Mapping[str, Rights] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        self.hosts = list(hosts)
        self.registry = Registry(place.directory)
        self.broker = Broker(
            place.directory / "broker", ADDRESS, first_port, f"local{first_port}", self.registry
        )
        kind = KINDS[database]
        self.database = kind(
            place.directory / kind.role, ADDRESS, first_port + 3, self.registry,
            settings=database_settings,
        )  # fmt: skip
        self._port = first_port + 4
        self._control_options = control
        self._agent_options = agents or {}
        self._others = others
        self.conductors = conductors
        self._users = users or {}
        self._environment = environment

    def start(self) -> None:
        """Start all that is not running yet, and wait until every host has sent a heartbeat.

        :raises StackFailed: a part did not come up
        """
        self.start_broker()
        self.database.start()
        self.database.create_database(DATABASE)
        self.control = ControlPlane(
            self.place, self.registry, self.broker.url, self.database.url(DATABASE), self._port,
            self._control_options, conductors=self.conductors, environment=self._environment,
        )  # fmt: skip
        self.control.prepare(NETWORK, None)
        self.control.start()
        for host in self.hosts:
            self.start_agent(host)
        self.control.wait_ready(self.hosts)

    def start_broker(self) -> None:
        """Start RabbitMQ unless it runs."""
        rights = {"api": api_rights("api")}
        rights |= {name: conductor_rights(name) for name in self.conductors}
        rights |= {name: agent_rights(name) for name in (*self.hosts, *self._others)}
        self.broker.start({**rights, **self._users})

    def start_agent(self, host: str) -> None:
        """Start a host's agent unless it runs."""
        if self.registry.find(f"compute-{host}") is None:
            path = write_settings(self.place.settings(f"compute-{host}"), self._agent(host))
            command = [program("paddock-compute"), "--config-file", str(path)]
            self.registry.spawn("compute", command, host=host, env=self._environment)

    def _agent(self, host: str) -> Sections:
        machine = self.place.state(host) / "machine-id"
        machine.write_text(f"{host}\n")
        number = self.hosts.index(host) + 1
        compute = {
            "zone": zone(number, len(self.hosts)),
            "driver": "fake",
            "machine_id_file": machine,
            "image_store": self.place.images,
            "vcpus": 64,
            "memory_mb": 262144,
            "disk_gb": 4096,
        }
        groups: dict[str, dict[str, Any]] = {"compute": compute}
        for group, options in self._agent_options.items():
            groups[group] = groups.get(group, {}) | dict(options)
        return {**self.control.common(host), **groups}
