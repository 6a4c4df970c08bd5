"""The demo: a machine is powered off on one host and powered on in another zone, unchanged."""

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tabulate import tabulate

from devstack.api import Api, ApiFailed
from devstack.cloud_user import COMPUTE, CloudUser, DemoFailed, GuestLine, Server
from devstack.place import Place, written
from devstack.processes import wait_until
from devstack.say import say, step

MADE_BY = {"made_by": "devstack demo"}
FIRST_ZONE = "az1"
OTHER_ZONE = "az2"
POWER_OFF = 10
BOOT_SECONDS = 120.0
MOVE_SECONDS = 180.0
PING_SECONDS = 15.0


class Demo:
    """Runs the demo with the users of the stack's clouds.yaml.

    :param place: where the stack's files lie.
    :param pings: whether guests can be reached from here.
    """

    def __init__(self, place: Place, *, pings: bool) -> None:
        self._place = place
        self._pings = pings
        self._user = Api(place.clouds, "paddock-demo")
        self._admin = Api(place.clouds, "paddock-admin")
        self._cloud = CloudUser(self._user, self._admin)
        self._mark = f"mark-{secrets.token_hex(3)}"
        self._took: list[tuple[str, str]] = []
        self._real = True

    def run(self) -> bool:
        """Show everything; whether each step was as it says."""
        say("\nDemo: power off here, power on in another zone")
        try:
            self._user.sign_in()
            self._admin.sign_in()
            self._real = self._has_real_guests()
            self._delete_former()
            first, boots = self._create()
            self._power_off(first)
            self._power_on(first, boots)
        except (DemoFailed, ApiFailed) as failure:
            say(f"\nThe demo failed: {failure}\nLogs: {self._place.directory}/log")
            return False
        self._close()
        return True

    def _has_real_guests(self) -> bool:
        nodes = self._admin.get(f"{COMPUTE}/os-hypervisors/detail")["hypervisors"]
        real = all(node["hypervisor_type"].lower() != "fake" for node in nodes)
        if not real:
            say("The hosts have no hypervisor (driver fake): nothing boots, so the guest's own "
                "words, its mark among them, are left out.")  # fmt: skip
        return real

    def _delete_former(self) -> None:
        former = [
            one for one in self._cloud.servers() if MADE_BY.items() <= one["metadata"].items()
        ]
        for server in former:
            with self._timed(f"Delete {server['name']} of a former demo"):
                self._cloud.delete(server["id"])

    def _create(self) -> tuple[Server, int]:
        body = {
            "name": f"demo-{secrets.token_hex(3)}",
            "imageRef": self._image()["id"],
            "flavorRef": self._flavor()["id"],
            "availability_zone": FIRST_ZONE,
            "networks": "auto",
            "metadata": {**MADE_BY, "mark": self._mark},
        }
        with self._timed(f"Create a server in {FIRST_ZONE}, wait for ACTIVE"):
            server = self._cloud.wait_for(self._cloud.create(body), "ACTIVE", BOOT_SECONDS)
        line = self._hear_guest(server, boots=1)
        self._show(server, line)
        _require(server.zone == FIRST_ZONE, f"it runs in {server.zone}, not in {FIRST_ZONE}")
        self._ping(server)
        return server, line.boots if line else 0

    def _power_off(self, first: Server) -> None:
        before = self._cloud.claims(first.host)
        with self._timed("vm-poweroff, wait for SHUTOFF"):
            self._cloud.act(first.id, "vm-poweroff", {})
            server = self._cloud.wait_for(first.id, "SHUTOFF", BOOT_SECONDS)
        _require(server.power_state == POWER_OFF, f"its power_state is {server.power_state}")
        after = self._cloud.claims(first.host)
        kinds = ("vcpus", "memory_mb")
        rows = [[kind, before[kind], after[kind], before[kind] - after[kind]] for kind in kinds]
        say(tabulate(rows, headers=[f"claimed on {first.host}", "before", "after", "free again"]))
        say("")
        flavor = self._flavor()
        for kind, size in zip(kinds, (flavor["vcpus"], flavor["ram"]), strict=True):
            freed = before[kind] - after[kind]
            _require(freed >= size, f"{kind}: {freed} came free on {first.host}, not {size}")

    def _power_on(self, first: Server, boots: int) -> None:
        with self._timed(f"vm-poweron in {OTHER_ZONE}, wait for ACTIVE"):
            self._cloud.act(first.id, "vm-poweron", {"availability_zone": OTHER_ZONE})
            server = self._cloud.wait_for(first.id, "ACTIVE", MOVE_SECONDS)
        line = self._hear_guest(server, boots=boots + 1)
        self._show(server, line)
        _require(server.host != first.host, f"it still runs on {server.host}")
        _require(server.zone == OTHER_ZONE, f"it runs in {server.zone}, not in {OTHER_ZONE}")
        _require(server.mac == first.mac, f"its MAC changed from {first.mac} to {server.mac}")
        _require(server.ip == first.ip, f"its address changed from {first.ip} to {server.ip}")
        self._ping(server)

    def _hear_guest(self, server: Server, boots: int) -> GuestLine | None:
        """The guest's own words once it has booted so often and has its address."""
        if not self._real:
            return None
        with self._timed("Wait for the guest's own words on its console"):
            line = self._cloud.wait_for_guest(
                server.id, lambda said: said.boots >= boots and said.ip == server.ip, BOOT_SECONDS
            )
        _require(line.mark == self._mark, f"its disk has the mark {line.mark}, not {self._mark}")
        _require(line.mac == server.mac, f"the guest says that its MAC is {line.mac}")
        _require(line.boots == boots, f"it booted {line.boots} times, not {boots}")
        return line

    def _ping(self, server: Server) -> None:
        if not (self._pings and self._real):
            return
        with self._timed(f"Ping {server.ip}"):
            answered = wait_until(lambda: _answers_ping(server.ip), PING_SECONDS)
        _require(answered, f"{server.ip} does not answer a ping")

    def _show(self, server: Server, line: GuestLine | None) -> None:
        rows = [
            ["server", server.name],
            ["status", server.status],
            ["host, zone", f"{server.host}, {server.zone}"],
            ["MAC, IP", f"{server.mac}, {server.ip}"],
        ]
        if line:
            rows += [["mark on its disk", line.mark], ["boots", str(line.boots)]]
        say(tabulate(rows, tablefmt="simple"))
        say("")

    def _close(self) -> None:
        say(tabulate(self._took, headers=["step", "took"], colalign=("left", "right")))
        say(f"\nAPI: {self._user.url}\nUsers: {written(self._place.clouds)}")

    def _image(self) -> dict[str, Any]:
        images = self._user.get("/image/v2/images")["images"]
        _require(bool(images), "the cloud has no image")
        return dict(images[0])

    def _flavor(self) -> dict[str, Any]:
        flavors = self._user.get(f"{COMPUTE}/flavors/detail")["flavors"]
        _require(bool(flavors), "the cloud has no flavor")
        return dict(min(flavors, key=lambda flavor: (flavor["ram"], flavor["vcpus"])))

    @contextmanager
    def _timed(self, title: str) -> Iterator[None]:
        begun = time.monotonic()
        with step(title, lambda: self._cloud.progress):
            yield
        self._took.append((title, f"{time.monotonic() - begun:.1f} s"))


def _answers_ping(address: str) -> bool:
    command = ["busybox", "ping", "-c", "1", "-W", "1", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DemoFailed(otherwise)
