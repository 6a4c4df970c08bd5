"""Bridges, veth pairs and network namespaces, through iproute2; and which subnets are free."""

import hashlib
import ipaddress
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_HOSTS = 30
NAMED = Path("/run/netns")


@dataclass(frozen=True)
class Plan:
    """Who has which address: subnet `x` is 10.88.x.0/24 for control and 10.99.x.0/24 for guests.

    Of the guests' subnet .1 is the root namespace, .2 to .31 are the hosts' own bridges, and the
    rest is for guests.
    """

    subnet: int
    root_host: int = 254
    bits: int = 24

    def control(self, number: int) -> str:
        """The control address of host `number`."""
        return f"10.88.{self.subnet}.{number}"

    def data(self, number: int) -> str:
        """The address of host `number` towards its guests."""
        return f"10.99.{self.subnet}.{number + 1}"

    @property
    def guest_gateway(self) -> str:
        """The root namespace's address on the guests' network; it leads nowhere."""
        return f"10.99.{self.subnet}.1"

    @property
    def guest_cidr(self) -> str:
        """The guests' network."""
        return f"10.99.{self.subnet}.0/{self.bits}"

    @property
    def guest_range(self) -> tuple[str, str]:
        """First and last address that a guest may get."""
        return f"10.99.{self.subnet}.32", f"10.99.{self.subnet}.254"

    def networks(self) -> list[ipaddress.IPv4Network]:
        """Both subnets."""
        return [
            ipaddress.IPv4Network(f"10.88.{self.subnet}.0/{self.bits}"),
            ipaddress.IPv4Network(self.guest_cidr),
        ]


def prefix(directory: Path) -> str:
    """Six characters that start the name of every link and namespace of this directory."""
    return "pk" + hashlib.sha256(os.fsencode(directory)).hexdigest()[:4]


def free_plan(name: str, taken: Sequence[ipaddress.IPv4Network] | None = None) -> Plan:
    """The first plan, counted from a place that `name` decides, that overlaps no present route.

    :raises RuntimeError: when all 256 are taken.
    """
    present = _routes() if taken is None else taken
    first = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 256
    for offset in range(256):
        plan = Plan((first + offset) % 256)
        if not any(ours.overlaps(other) for ours in plan.networks() for other in present):
            return plan
    raise RuntimeError("no subnet is free below 10.88.0.0/16 and 10.99.0.0/16")


def make_bridge(name: str, address: str) -> None:
    """A bridge with an address that forwards to no other network; harmless when it is there."""
    if not link_exists(name):
        ip("link", "add", name, "type", "bridge", "forward_delay", "0")
    ip("address", "replace", f"{address}/24", "dev", name)
    Path(f"/proc/sys/net/ipv4/conf/{name}/forwarding").write_text("0")
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    ip("link", "set", name, "up")


def make_namespace(name: str) -> None:
    """A network namespace; harmless when it is there."""
    if name not in namespaces(name):
        ip("netns", "add", name)


def plug(bridge: str, outside: str, namespace: str, inside: str) -> None:
    """Connect a namespace to a bridge by a veth pair; harmless when it is."""
    if not link_exists(outside):
        peer = ["peer", "name", inside, "netns", namespace]
        ip("link", "add", outside, "type", "veth", *peer)
    ip("link", "set", outside, "master", bridge, "up")
    ip("-n", namespace, "link", "set", inside, "up")


def set_address(namespace: str, interface: str, address: str) -> None:
    """Give an interface inside a namespace its address in a /24."""
    ip("-n", namespace, "address", "replace", f"{address}/24", "dev", interface)


def set_link(name: str, *, up: bool) -> None:
    """Take a link up or down."""
    ip("link", "set", name, "up" if up else "down")


def link_exists(name: str) -> bool:
    """Whether the root namespace has a link of that name."""
    return Path("/sys/class/net", name).exists()


def links(name_prefix: str) -> list[str]:
    """The root namespace's links whose names start so, bridges last."""
    found = [path.name for path in Path("/sys/class/net").glob(f"{name_prefix}*")]
    return sorted(found, key=len, reverse=True)


def namespaces(name_prefix: str) -> list[str]:
    """The named network namespaces whose names start so."""
    return sorted(path.name for path in NAMED.glob(f"{name_prefix}*"))


def pids_in(namespace: str) -> list[int]:
    """Every process inside a named network namespace."""
    return [int(word) for word in _output("ip", "netns", "pids", namespace).split()]


def delete_namespace(name: str) -> None:
    """Remove a named namespace; its links go with it, and with the last one ip's own mount."""
    ip("netns", "delete", name)
    if any(NAMED.iterdir()):
        return
    # Somebody else may be first, or make a namespace meanwhile: then it is theirs.
    subprocess.run(["umount", str(NAMED)], capture_output=True, timeout=20, check=False)


def delete_link(name: str) -> None:
    """Remove a link; harmless when its peer took it along, which may happen meanwhile."""
    try:
        ip("link", "delete", name)
    except RuntimeError:
        if link_exists(name):
            raise


def ip(*arguments: str) -> None:
    """Run ip(8).

    :raises RuntimeError: with what it said, when it refuses.
    """
    _output("ip", *arguments)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def _routes() -> list[ipaddress.IPv4Network]:
    listing: list[dict[str, Any]] = json.loads(
        _output("ip", "-json", "-4", "route", "show", "table", "all") or "[]"
    )
    places = (str(route["dst"]) for route in listing if route.get("type") != "broadcast")
    return [ipaddress.IPv4Network(place, strict=False) for place in places if place != "default"]
