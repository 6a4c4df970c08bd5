"""The embedded stack: the whole cloud in one process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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

ROLE = "embedded"
READY_SECONDS = 60.0


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
        uri = self._hypervisor()
        guest = self._guest() if uri else None
        write_users(self.place.users, write_clouds(self.place.clouds, self.url))
        connection = f"sqlite:///{self.place.directory}/paddock.db"
        Preparation(self.place, {"database": {"connection": connection}}).run(ADDRESSES, guest)
        self._write_layout(agent_options(self.place, uri))
        command = [sys.executable, "-m", "devstack.embedded_process", str(self.place.directory)]
        self.registry.spawn(ROLE, command)

    def _hypervisor(self) -> str | None:
        """The URI of a hypervisor that really starts a guest; None for the fake driver.

        :raises StackFailed: libvirt is demanded and cannot be had
        """
        forced = forced_driver()
        if forced == "fake":
            return None
        uri, why = self._choose()
        if uri is None and forced == "libvirt":
            raise StackFailed(f"no hypervisor starts a guest here: {why}")
        if uri is None:
            say(f"The hosts have no hypervisor, only the fake driver: {why}")
        else:
            (self.place.directory / URI_FILE).write_text(uri + "\n")
        return uri

    def _choose(self) -> tuple[str | None, str]:
        try:
            from compute_agent.drivers.libvirt.choose import choose
        except ImportError as error:
            return None, f"libvirt's Python binding is missing ({error})."
        with step("Looking for a hypervisor that starts guests"):
            choice = choose(self.place.directory / "hypervisor")
        return choice.uri, choice.why

    def _guest(self) -> GuestImages:
        with step("Building the test guest"):
            try:
                return build(self.place.guest, say)
            except BuildError as error:
                raise StackFailed(f"The test guest cannot be built: {error}") from error

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
        wait_until(
            lambda: not self.registry.alive(record) or self._hosts_up() == len(HOSTS), READY_SECONDS
        )
        if not self.registry.alive(record):
            last = last_line(Path(record.log))
            raise StackFailed(f"the cloud's process ended by itself; its log ends: {last}")
        if (up := self._hosts_up()) < len(HOSTS):
            raise StackFailed(f"only {up} of {len(HOSTS)} hosts are up after {READY_SECONDS:.0f} s")

    def _hosts_up(self) -> int:
        return len(Api(self.place.clouds, "paddock-admin").hosts_up() & HOSTS.keys())
