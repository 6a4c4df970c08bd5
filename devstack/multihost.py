"""The multihost stack: RabbitMQ, PostgreSQL, an API, two conductors and N namespaced hosts."""

import os

from conductor.broker_users import agent_rights, api_rights, conductor_rights
from devstack.broker import Broker, BrokerFailed
from devstack.certificates import Certificates
from devstack.control_plane import CONDUCTORS, ControlPlane
from devstack.database import Postgres
from devstack.guest.build import build
from devstack.guest.tools import BuildError
from devstack.hosts import Host, HostNet
from devstack.place import Place, StackFailed, api_port, live_migration, program, zone
from devstack.preparation import GuestNetwork
from devstack.processes import Registry
from devstack.say import say, step
from devstack.settings import Sections, write_settings

FIRST_BROKER_PORT = 21000
"""The broker also uses loopback, so its port must differ between checkouts: one each subnet."""
DATABASE_PORT = 5432
DATABASE = "paddock"
CONTROL_MEMORY_MB = 2048
"""What is kept of the machine's memory for everything but guests, in MiB."""


class Multihost:
    """Builds and connects all parts of the multihost stack.

    :param place: where its files lie.
    :param size: how many hosts, at least two, so that there are two zones.
    """

    def __init__(self, place: Place, size: int) -> None:
        self.place = place
        self.size = size
        self.registry = Registry(place.directory)
        self.certificates = Certificates(place.certificates)
        self.net = HostNet(
            place.directory, size, self.registry, self.certificates, live=live_migration()
        )

    def start(self) -> None:
        """Start all that is not running yet, and wait until every host has sent a heartbeat.

        :raises StackFailed: when a part does not come up, or another number of hosts is running.
        :raises RuntimeError: when the database or a host does not come up.
        """
        self._refuse_other_size()
        try:
            with step("Building the test guest"):
                guest = build(self.place.guest, say)
            self.net.up()
            self._start_broker()
        except (BuildError, BrokerFailed) as failure:
            raise StackFailed(str(failure)) from failure
        self._start_database()
        self._start_hosts()
        self._control = ControlPlane(
            self.place, self.registry, self.broker.url, self.database.url(DATABASE), api_port(),
            {"DEFAULT": {"certificates": self._servers_certificates()}},
            self.broker.settings(), self.certificates, self.net.address,
        )  # fmt: skip
        self._control.prepare(self._guest_network(), guest)
        with step("Starting the API, the conductors and the agents"):
            self._control.start()
            self._start_agents()
            self._control.wait_ready([host.name for host in self.net.hosts()])

    def _refuse_other_size(self) -> None:
        """The broker learns its users, one for each host, only when it starts."""
        noted = self.place.directory / "size"
        if self.registry.find("rabbitmq") and noted.read_text() != str(self.size):
            raise StackFailed(
                f"a cloud of {noted.read_text()} hosts is running, not of {self.size}; "
                "./devstack/stack.sh down ends it"
            )
        noted.parent.mkdir(parents=True, exist_ok=True)
        noted.write_text(str(self.size))

    def _start_broker(self) -> None:
        directory = self.place.directory / "broker"
        port = FIRST_BROKER_PORT + 4 * self.net.plan.subnet
        made = self.certificates.of("broker", "control", self.net.address)
        self.broker = Broker(
            directory, self.net.address, port, self.net.prefix, self.registry, made
        )
        rights = {"api": api_rights("api")}
        rights |= {name: conductor_rights(name) for name in CONDUCTORS}
        rights |= {host.name: agent_rights(host.name) for host in self.net.hosts()}
        with step("Starting RabbitMQ"):
            self.broker.start(rights)

    def _start_database(self) -> None:
        directory = self.place.directory / "postgres"
        made = self.certificates.of("database", "control", self.net.address)
        self.database = Postgres(directory, self.net.address, DATABASE_PORT, self.registry, made)
        with step("Starting PostgreSQL"):
            self.database.start()
            self.database.create_database(DATABASE)

    def _servers_certificates(self) -> str:
        """What every process is to tell the end of."""
        servers = [self.broker.certificate, self.database.certificate]
        files = [self.certificates.ca, *(made / "cert.pem" for made in servers if made)]
        return ",".join(map(str, files))

    def _start_hosts(self) -> None:
        with step(f"Starting {self.size} hosts with their libvirtd"):
            for host in self.net.hosts():
                host.up()
            for host in self.net.hosts():
                host.wait_ready()

    def _guest_network(self) -> GuestNetwork:
        plan = self.net.plan
        return GuestNetwork(plan.guest_cidr, plan.guest_gateway, *plan.guest_range)

    def _start_agents(self) -> None:
        for host in self.net.hosts():
            name = f"compute-{host.name}"
            if self.registry.find(name) is None:
                path = write_settings(self.place.settings(name), self._agent(host))
                host.spawn("compute", [program("paddock-compute"), "--config-file", str(path)])

    def _agent(self, host: Host) -> Sections:
        machine_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        return {
            **self._control.common(host.name),
            "compute": {
                "zone": zone(host.number, self.size),
                "driver": "libvirt",
                "machine_id_file": host.machine_id_file,
                "image_url": self._control.url,
                "image_ca": self.certificates.ca,
                "address": host.address,
                "pki_path": host.certificate,
                "live_migration": self.net.live,
                "memory_mb": (machine_mb - CONTROL_MEMORY_MB) // self.size,
                "reserved_memory_mb": 0,
            },
            "libvirt": {
                "uri": "qemu:///system",
                "network": "bridge",
                "bridge": "brdata",
                "uplink": host.data_interface,
                "migration_pki_path": host.migration_pki,
                "bridge_address": f"{host.data_address}/24",
            },
        }
