"""The API and the conductors of a cloud of processes: their settings, and how they start."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from devstack.api import Api
from devstack.certificates import Certificates
from devstack.clouds import write_clouds, write_users
from devstack.guest.build import GuestImages
from devstack.place import API_ADDRESS, Place, StackFailed, program
from devstack.preparation import GuestNetwork, Preparation
from devstack.processes import Registry, wait_until
from devstack.say import last_line
from devstack.settings import Sections, write_settings

CONDUCTORS = ("c1", "c2")
API_WORKERS = 2
READY_SECONDS = 60.0
Options = Mapping[str, Mapping[str, Any]]


class ControlPlane:
    """What a cloud of processes has beside its hosts.

    :param place: where its files lie
    :param registry: where its processes are remembered
    :param broker_url: the transport URL of a broker's user
    :param database_url: the database's URL
    :param port: the API's TCP port
    :param options: group → option → value for the conductors and the API, beside their own
    :param shared: the same for every process, agents too
    :param certificates: gives the API one, which then speaks HTTPS
    :param address: where the API listens
    :param conductors: the names of the conductors
    :param environment: variables of its processes, beside those of this one
    :ivar url: the API's
    """

    def __init__(
        self,
        place: Place,
        registry: Registry,
        broker_url: Callable[[str], str],
        database_url: str,
        port: int,
        options: Options | None = None,
        shared: Sections | None = None,
        certificates: Certificates | None = None,
        address: str = API_ADDRESS,
        conductors: Sequence[str] = CONDUCTORS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._place = place
        self._registry = registry
        self._broker_url = broker_url
        self._database = {"connection": database_url}
        self._port = port
        self._options = options or {}
        self._shared = shared or {}
        self._certificates = certificates
        self._address = address
        self._conductors = conductors
        self._environment = environment
        self.url = f"{'https' if certificates else 'http'}://{address}:{port}"

    def prepare(self, network: GuestNetwork, guest: GuestImages | None) -> None:
        """Write the users down, and fill the database with what the demo needs."""
        ca = self._certificates.ca if self._certificates else None
        clouds = write_clouds(self._place.clouds, self.url, ca)
        write_users(self._place.users, clouds)
        Preparation(self._place, self._conductor(self._conductors[0])).run(network, guest)

    def start(self) -> None:
        """Start what does not run of the conductors and the API."""
        for name in self._conductors:
            self.start_conductor(name)
        self.start_api()

    def start_conductor(self, name: str) -> None:
        """Start a conductor unless it runs."""
        self._spawn("conductor", self._conductor(name), name)

    def start_api(self) -> None:
        """Start the API unless it runs."""
        serve: dict[str, Any] = {
            "listen": self._address,
            "port": self._port,
            "workers": API_WORKERS,
            "image_store": self._place.images,
        }
        if self._certificates:
            made = self._certificates.of("api", "api", self._address, "localhost")
            serve |= {"tls_certificate": made / "cert.pem", "tls_key": made / "key.pem"}
        own: Sections = {
            "api": serve | dict(self._options.get("api", {})),
            "identity": {"key_file": self._place.token_key},
        }
        self._spawn("api", {**self.common("api"), **own})

    def common(self, name: str) -> Sections:
        """The settings that each process has, agents too."""
        return {
            "DEFAULT": {
                "host": name,
                "state_path": self._place.state(name),
                "transport_url": self._broker_url(name),
                **self._options.get("DEFAULT", {}),
            },
            **self._shared,
        }

    def wait_ready(self, hosts: Collection[str]) -> None:
        """Until the API says that all these hosts are up.

        :raises StackFailed: a process ended by itself, or they are not up in time
        """
        names = {record.name: record for record in self._registry.records()}

        def dead() -> Sequence[str]:
            return [name for name, record in names.items() if not self._registry.alive(record)]

        def up() -> int:
            return len(Api(self._place.clouds, "paddock-admin").hosts_up() & set(hosts))

        if wait_until(lambda: bool(dead()) or up() == len(hosts), READY_SECONDS) and not dead():
            return
        if ended := dead():
            last = last_line(Path(names[ended[0]].log))
            raise StackFailed(f"{ended[0]} ended by itself; its log ends: {last}")
        raise StackFailed(f"only {up()} of {len(hosts)} hosts are up after {READY_SECONDS:.0f} s")

    def _conductor(self, name: str) -> Sections:
        own: Sections = {
            "database": self._database | dict(self._options.get("database", {})),
            "conductor": self._options.get("conductor", {}),
        }
        return {**self.common(name), **own}

    def _spawn(self, role: str, sections: Sections, instance: str = "") -> None:
        name = "-".join(part for part in (role, instance) if part)
        if self._registry.find(name) is None:
            path = write_settings(self._place.settings(name), sections)
            command = [program(f"paddock-{role}"), "--config-file", str(path)]
            self._registry.spawn(role, command, instance=instance, env=self._environment)
