"""The embedded stack: the whole cloud in one process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devstack import packages
from devstack.api import Api
from devstack.clouds import write_clouds, write_users
from devstack.embedded_layout import ADDRESSES, HOSTS, agent_options
from devstack.guest.build import GuestImages, build
from devstack.guest.tools import BuildError
from devstack.place import API_ADDRESS, PORT, Place, StackFailed, api_port, forced_driver
from devstack.preparation import Preparation
from devstack.processes import Registry, wait_until
from devstack.say import last_line, say, step
from devstack.teardown import URI_FILE
from devstack.user_daemon import UserDaemon

ROLE = "embedded"
READY_SECONDS = 60.0


class NoHypervisor(Exception):
    """No real guest can be started here; the text says what is missing."""


class Embedded:
    """Builds the test guest and starts the one process that is the cloud.

    :param place: where its files lie.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.registry = Registry(place.directory)
        self.url = f"http://{API_ADDRESS}:{api_port()}"

    def start(self) -> None:
        """Start the process if it is not running, and wait until its hosts are up.

        :raises StackFailed: when it does not come up.
        """
        wanted = {"driver": forced_driver(), "port": os.environ.get(PORT) and api_port()}
        if self.registry.find(ROLE) is None:
            self._start_anew()
        else:
            self._refuse_other(wanted)
        with step("Waiting for the hosts"):
            self._wait_ready()

    def _start_anew(self) -> None:
        uri, guest = self._hypervisor()
        write_users(self.place.users, write_clouds(self.place.clouds, self.url))
        connection = f"sqlite:///{self.place.directory}/paddock.db"
        Preparation(self.place, {"database": {"connection": connection}}).run(ADDRESSES, guest)
        self._write_layout(agent_options(self.place, uri))
        command = [sys.executable, "-m", "devstack.embedded_process", str(self.place.directory)]
        self.registry.spawn(ROLE, command)

    def _hypervisor(self) -> tuple[str | None, GuestImages | None]:
        """The URI of a hypervisor that really starts a guest, and the guest; None: a fake driver.

        :raises StackFailed: libvirt is demanded and cannot be had
        """
        forced = forced_driver()
        if forced == "fake":
            return None, None
        try:
            uri = self._choose()
            return uri, self._guest()
        except NoHypervisor as reason:
            absent = " ".join(packages.missing(packages.needed("embedded")))
            why = f"{reason}; these packages are missing: {absent}" if absent else str(reason)
            if forced == "libvirt":
                raise StackFailed(f"no real guest can be started here: {why}") from reason
            say(f"The hosts have no hypervisor, only the fake driver: {why}")
            return None, None

    def _choose(self) -> str:
        try:
            from compute_agent.drivers.libvirt.choose import choose
        except ImportError as error:
            raise NoHypervisor(str(error)) from error
        if os.geteuid() != 0:
            os.environ.update(UserDaemon(self.place.directory, self.registry).start())
        with step("Looking for a hypervisor that starts guests"):
            choice = choose(self.place.directory / "hypervisor")
        if choice.uri is None:
            raise NoHypervisor(choice.why)
        (self.place.directory / URI_FILE).write_text(choice.uri + "\n")
        return choice.uri

    def _guest(self) -> GuestImages:
        with step("Building the test guest"):
            try:
                return build(self.place.guest, say)
            except BuildError as error:
                raise NoHypervisor(f"the test guest cannot be built ({error})") from error

    def _refuse_other(self, wanted: Mapping[str, Any]) -> None:
        layout = json.loads((self.place.directory / "embedded.json").read_text())
        running = {"driver": layout["agents"]["compute"]["driver"], "port": layout["port"]}
        for name, value in wanted.items():
            if value and value != running[name]:
                raise StackFailed(
                    f"The cloud is running with the {name} {running[name]}, not {value}; "
                    "./devstack/stack.sh down ends it."
                )

    def _write_layout(self, agents: Mapping[str, Mapping[str, Any]]) -> None:
        document = {"hosts": HOSTS, "port": api_port(), "agents": agents}
        (self.place.directory / "embedded.json").write_text(json.dumps(document, indent=1))

    def _wait_ready(self) -> None:
        record = self.registry.find(ROLE)
        if record is None:
            log = self.registry.logs / f"{ROLE}.log"
            raise StackFailed(f"the cloud's process ended at once; its log ends: {last_line(log)}")
        admin = Api(self.place.clouds, "paddock-admin")
        up: set[str] = set()

        def settled() -> bool:
            up.update(admin.hosts_up() & HOSTS.keys())
            return len(up) == len(HOSTS) or not self.registry.alive(record)

        wait_until(settled, READY_SECONDS)
        if not self.registry.alive(record):
            last = last_line(Path(record.log))
            raise StackFailed(f"the cloud's process ended by itself; its log ends: {last}")
        if len(up) < len(HOSTS):
            raise StackFailed(
                f"only {len(up)} of {len(HOSTS)} hosts are up after {READY_SECONDS:.0f} s"
            )
