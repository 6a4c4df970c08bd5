"""What a user does with the cloud in the demo: servers by Nova's API, waited for by looking."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devstack.api import Api, ApiFailed

COMPUTE = "/compute/v2.1"
POLL_SECONDS = 0.3
PROGRESS_AFTER_SECONDS = 1.5
GUEST_LINE = re.compile(
    r"PADDOCK-GUEST mark=(?P<mark>\S*) boots=(?P<boots>\d+) mac=(?P<mac>\S*) ip=(?P<ip>\S*) "
    r"counter=(?P<counter>\d+)"
)


class DemoFailed(Exception):
    """Something was not as the demo says; the text says what."""


@dataclass(frozen=True)
class Server:
    """The facts of a server that the demo shows."""

    id: str
    name: str
    status: str
    power_state: int
    task: str | None
    host: str | None
    zone: str | None
    mac: str
    ip: str
    fault: str

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Server":
        """From Nova's document of one server, as an administrator sees it."""
        ports = [port for ports in document.get("addresses", {}).values() for port in ports]
        port = ports[0] if ports else {}
        return cls(
            id=document["id"],
            name=document["name"],
            status=document["status"],
            power_state=document["OS-EXT-STS:power_state"],
            task=document["OS-EXT-STS:task_state"],
            host=document.get("OS-EXT-SRV-ATTR:host"),
            zone=document.get("OS-EXT-AZ:availability_zone"),
            mac=port.get("OS-EXT-IPS-MAC:mac_addr", ""),
            ip=port.get("addr", ""),
            fault=(document.get("fault") or {}).get("message", ""),
        )


@dataclass(frozen=True)
class GuestLine:
    """What the guest itself says on its console, once a second."""

    mark: str
    boots: int
    mac: str
    ip: str


def read_guest_line(console: str) -> GuestLine | None:
    """The newest complete status line of a console log; None while there is none."""
    found = list(GUEST_LINE.finditer(console))
    if not found:
        return None
    line = found[-1]
    return GuestLine(line["mark"], int(line["boots"]), line["mac"], line["ip"])


class CloudUser:
    """Acts as the demo user and looks as the administrator, who alone sees hosts.

    :ivar progress: what the action that is being waited for is doing, for a person.
    """

    def __init__(self, user: Api, admin: Api) -> None:
        self._user = user
        self._admin = admin
        self.progress = ""

    def servers(self) -> list[dict[str, Any]]:
        """All documents of the user's own servers."""
        listing: list[dict[str, Any]] = self._user.get(f"{COMPUTE}/servers/detail")["servers"]
        return listing

    def create(self, body: dict[str, Any]) -> str:
        """Ask for a server; gives its id."""
        answer = self._user.post(f"{COMPUTE}/servers", {"server": body})
        return str(answer["server"]["id"])

    def act(self, server_id: str, action: str, arguments: dict[str, Any]) -> None:
        """Ask for an action on a server."""
        self._user.post(f"{COMPUTE}/servers/{server_id}/action", {action: arguments})

    def delete(self, server_id: str, timeout: float = 60.0) -> None:
        """Delete a server and wait until it is gone."""
        self._user.delete(f"{COMPUTE}/servers/{server_id}")
        path = f"{COMPUTE}/servers/{server_id}"
        self._wait(lambda: self._user.status(path) == 404, timeout, "the server to be gone")

    def show(self, server_id: str) -> Server:
        """The server as it is now."""
        return Server.read(self._admin.get(f"{COMPUTE}/servers/{server_id}")["server"])

    def wait_for(self, server_id: str, status: str, timeout: float) -> Server:
        """Wait until the server is idle in that status.

        :raises DemoFailed: after `timeout` seconds, or at once when the server is in ERROR.
        """

        def reached() -> bool:
            server = self.show(server_id)
            if server.status == "ERROR" and status != "ERROR":
                raise DemoFailed(f"server {server.name} is in ERROR: {server.fault}")
            return server.status == status and server.task is None

        self._wait(reached, timeout, f"status {status}", server_id)
        return self.show(server_id)

    def wait_for_guest(
        self, server_id: str, holds: Callable[[GuestLine], bool], timeout: float
    ) -> GuestLine:
        """Wait until the guest's own status line is as wanted."""
        self._wait(lambda: self._newest(server_id, holds) is not None, timeout,
                   "the guest to say on its console what was expected")  # fmt: skip
        line = self._newest(server_id, holds)
        if line is None:
            raise DemoFailed("the guest's status line changed while it was read")
        return line

    def claims(self, host: str | None) -> dict[str, int]:
        """What instances hold of a host's resources."""
        services = self._admin.get(f"{COMPUTE}/services")["services"]
        found = [one["resources"] for one in services if one["host"] == host]
        if not found:
            raise DemoFailed(f"the API lists no host {host}")
        return {kind: entry["used"] for kind, entry in found[0].items()}

    def _newest(self, server_id: str, holds: Callable[[GuestLine], bool]) -> GuestLine | None:
        path = f"{COMPUTE}/servers/{server_id}/action"
        answer = self._user.post(path, {"os-getConsoleOutput": {"length": 20}})
        line = read_guest_line(answer["output"])
        return line if line and holds(line) else None

    def _wait(
        self, holds: Callable[[], bool], timeout: float, what: str, server_id: str = ""
    ) -> None:
        begun = time.monotonic()
        try:
            while not holds():
                waited = time.monotonic() - begun
                if waited > timeout:
                    raise DemoFailed(f"waited {timeout:.0f} s for {what}. {self.progress}")
                if server_id and waited > PROGRESS_AFTER_SECONDS:
                    self.progress = self._describe_action(server_id)
                time.sleep(POLL_SECONDS)
        finally:
            self.progress = ""

    def _describe_action(self, server_id: str) -> str:
        path = f"{COMPUTE}/servers/{server_id}/os-instance-actions"
        try:
            newest = self._admin.get(path)["instanceActions"][0]
            action = self._admin.get(f"{path}/{newest['request_id']}")["instanceAction"]
        except (ApiFailed, IndexError):
            return ""
        return f"{action['action']}: " + ", ".join(map(describe_step, action.get("steps", [])))


def describe_step(step: dict[str, Any]) -> str:
    """One step of an action in a few words, with how much of its bytes is done."""
    text = f"{step['kind']} on {step['host']} {step['status']}"
    if step.get("total"):
        text += f" {100 * step['done'] // step['total']} %"
    return text
