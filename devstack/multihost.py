"""The multihost stack: RabbitMQ, PostgreSQL, an API, two conductors and N namespaced hosts."""

import os
from collections.abc import Sequence
from pathlib import Path

from devstack.api import Api
from devstack.broker import Broker, BrokerFailed, agent_rights, api_rights, conductor_rights
from devstack.clouds import write_clouds, write_users
from devstack.database import Postgres
from devstack.guest.build import GuestImages, build
from devstack.guest.tools import BuildError
from devstack.hosts import Host, HostNet
from devstack.place import (
    API_ADDRESS,
    Place,
    StackFailed,
    api_port,
    program,
    require_free_port,
    zone,
)
from devstack.preparation import GuestNetwork, Preparation
from devstack.processes import Registry, wait_until
from devstack.say import last_line, say, step
from devstack.settings import Sections, write_settings

FIRST_BROKER_PORT = 21000
"""The broker also uses loopback, so its port must differ between checkouts: one each subnet."""
DATABASE_PORT = 5432
DATABASE = "paddock"
CONDUCTORS = ("c1", "c2")
FEWEST_HOSTS = 2
READY_SECONDS = 60.0
CONTROL_MEMORY_MB = 2048
"""What is kept of the machine's memory for everything but guests, in MiB."""


class Multihost:
    """Builds and connects all parts of the multihost stack.

    :param place: where its files lie.
    :param size: how many hosts, at least two, so that there are two zones.
    :raises StackFailed: when there are fewer.
    """

    def __init__(self, place: Place, size: int) -> None:
        if size < FEWEST_HOSTS:
            raise StackFailed(f"--hosts must be at least {FEWEST_HOSTS}, one for each zone")
        self.place = place
        self.size = size
        self.registry = Registry(place.directory)
        self.net = HostNet(place.directory, size, self.registry)
        self.url = f"http://{API_ADDRESS}:{api_port()}"

    def start(self) -> None:
        """Start all that is not running yet, and wait until every host has sent a heartbeat.

        :raises StackFailed: when a part does not come up, or another number of hosts is running.
        :raises RuntimeError: when the database or a host does not come up.
        """
        self._refuse_other_size()
        if self.registry.find("api") is None:
            require_free_port()
        try:
            with step("Building the test guest"):
                guest = build(self.place.guest, say)
            self.net.up()
            self._start_broker()
        except (BuildError, BrokerFailed) as failure:
            raise StackFailed(str(failure)) from failure
        self._start_database()
        self._start_hosts()
        self._prepare_control_plane(guest)
        with step("Starting the API, the conductors and the agents"):
            self._start_control_plane()
            self._start_agents()
            self._wait_ready()

    def _refuse_other_size(self) -> None:
        """The broker learns its users, one for each host, only when it starts."""
        running = [record for record in self.registry.records() if record.role == "host"]
        present = sum(map(self.registry.alive, running))
        if present not in (0, self.size) and self.registry.find("rabbitmq"):
            raise StackFailed(
                f"a cloud of {present} hosts is running, not of {self.size}; "
                "./devstack/stack.sh down ends it"
            )

    def _start_broker(self) -> None:
        directory = self.place.directory / "broker"
        port = FIRST_BROKER_PORT + 4 * self.net.plan.subnet
        self.broker = Broker(directory, self.net.address, port, self.net.prefix, self.registry)
        rights = {"api": api_rights("api")}
        rights |= {name: conductor_rights(name) for name in CONDUCTORS}
        rights |= {host.name: agent_rights(host.name) for host in self.net.hosts()}
        with step("Starting RabbitMQ"):
            self.broker.start(rights)

    def _start_database(self) -> None:
        directory = self.place.directory / "postgres"
        self.database = Postgres(directory, self.net.address, DATABASE_PORT, self.registry)
        with step("Starting PostgreSQL"):
            self.database.start()
            self.database.create_database(DATABASE)

    def _start_hosts(self) -> None:
        with step(f"Starting {self.size} hosts with their libvirtd"):
            for host in self.net.hosts():
                host.up()
            for host in self.net.hosts():
                host.wait_ready()

    def _prepare_control_plane(self, guest: GuestImages) -> None:
        clouds = write_clouds(self.place.clouds, self.url)
        write_users(self.place.users, clouds)
        plan = self.net.plan
        first, last = plan.guest_range
        network = GuestNetwork(plan.guest_cidr, plan.guest_gateway, first, last)
        Preparation(self.place, self._conductor(CONDUCTORS[0])).run(network, guest)

    def _start_control_plane(self) -> None:
        for name in CONDUCTORS:
            self._spawn("conductor", self._conductor(name), name)
        self._spawn("api", self._api())

    def _start_agents(self) -> None:
        for host in self.net.hosts():
            name = f"compute-{host.name}"
            if self.registry.find(name) is None:
                path = write_settings(self.place.settings(name), self._agent(host))
                host.spawn("compute", [program("paddock-compute"), "--config-file", str(path)])

    def _spawn(self, role: str, sections: Sections, instance: str = "") -> None:
        name = "-".join(part for part in (role, instance) if part)
        if self.registry.find(name) is None:
            path = write_settings(self.place.settings(name), sections)
            command = [program(f"paddock-{role}"), "--config-file", str(path)]
            self.registry.spawn(role, command, instance=instance)

    def _wait_ready(self) -> None:
        names = {record.name: record for record in self.registry.records()}

        def dead() -> Sequence[str]:
            return [name for name, record in names.items() if not self.registry.alive(record)]

        wait_until(lambda: bool(dead()) or self._hosts_up() == self.size, READY_SECONDS)
        if ended := dead():
            last = last_line(Path(names[ended[0]].log))
            raise StackFailed(f"{ended[0]} ended by itself; its log ends: {last}")
        if (up := self._hosts_up()) < self.size:
            raise StackFailed(f"only {up} of {self.size} hosts are up after {READY_SECONDS:.0f} s")

    def _hosts_up(self) -> int:
        up = Api(self.place.clouds, "paddock-admin").hosts_up()
        return sum(host.name in up for host in self.net.hosts())

    def _common(self, name: str) -> Sections:
        return {
            "DEFAULT": {
                "host": name,
                "state_path": self.place.state(name),
                "transport_url": self.broker.url(name),
            }
        }

    def _conductor(self, name: str) -> Sections:
        return {
            **self._common(name),
            "database": {"connection": self.database.url(DATABASE)},
        }

    def _api(self) -> Sections:
        return {
            **self._common("api"),
            "api": {"listen": API_ADDRESS, "port": api_port()},
            "identity": {"key_file": self.place.token_key},
        }

    def _agent(self, host: Host) -> Sections:
        machine_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        return {
            **self._common(host.name),
            "compute": {
                "zone": zone(host.number, self.size),
                "driver": "libvirt",
                "machine_id_file": host.machine_id_file,
                "image_store": self.place.images,
                "address": host.address,
                "memory_mb": (machine_mb - CONTROL_MEMORY_MB) // self.size,
                "reserved_memory_mb": 0,
            },
            "libvirt": {
                "uri": "qemu:///system",
                "network": "bridge",
                "bridge": "brdata",
                "uplink": host.data_interface,
                "bridge_address": f"{host.data_address}/24",
            },
        }
