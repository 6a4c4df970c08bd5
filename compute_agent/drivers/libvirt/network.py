"""How guests are connected: nothing to do for QEMU's user network, DHCP entries on the bridge."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import libvirt

from compute_agent.drivers.libvirt import xml
from compute_agent.drivers.libvirt.connection import Connection
from compute_agent.drivers.libvirt.xml import HostEntry
from compute_agent.keeping import locked
from paddock.errors import HypervisorError
from paddock.records import GuestSpec

TOOL_SECONDS = 10


class UserNetwork:
    """Each guest by itself behind QEMU; all is in the domain."""

    kind = "user"

    def ensure(self) -> None:
        """Have the host ready for guests."""

    def plug(self, guest: GuestSpec) -> None:
        """Make the guest's ports known before it is launched; harmless to repeat."""

    def unplug(self, instance_id: str) -> None:
        """Forget the guest's ports."""


class Bridge(NamedTuple):
    """The bridge that libvirt makes on this host.

    :ivar address: the host's own on it, with prefix
    :ivar gateway: told to guests as their router
    :ivar uplink: interface towards the other hosts, put into the bridge
    """

    name: str
    address: str
    gateway: str | None
    uplink: str | None


class BridgeNetwork(UserNetwork):
    """One layer-2 network over all hosts; libvirt's dnsmasq answers this host's guests only."""

    kind = "bridge"

    def __init__(self, connection: Connection, bridge: Bridge, lock: Path) -> None:
        self._connection = connection
        self._bridge = bridge
        self._lock = lock

    def ensure(self) -> None:
        """See the base. Raises HypervisorError when the network cannot be had.

        Workers that find it missing at once make it one after another.
        """
        if self._connection.call(_is_active) and self._has_uplink():
            return
        with locked(self._lock):
            self._connection.call(self._start)
            if not self._has_uplink():
                self._enslave(str(self._bridge.uplink))

    def plug(self, guest: GuestSpec) -> None:
        """See the base."""
        self.ensure()
        wanted = xml.host_entries_of(guest)
        self._connection.call(lambda conn: _exchange(conn, guest.id, wanted))
        for lease in self._connection.call(lambda conn: _foreign_leases(conn, wanted)):
            # dnsmasq gives an address to nobody else while another guest's lease of it lasts.
            _run(["dhcp_release", self._bridge.name, *lease], "An old lease cannot be ended")

    def unplug(self, instance_id: str) -> None:
        """See the base. A network that is not there knows nobody, and is made anew without any."""
        self._connection.call(
            lambda conn: _exchange(conn, instance_id, []) if _is_active(conn) else None
        )

    def _start(self, conn: Any) -> None:
        if _is_active(conn):
            return
        if (network := _find(conn)) is not None:
            network.undefine()  # it may be of another configuration
        bridge = self._bridge
        network = conn.networkDefineXML(
            xml.network_xml(bridge.name, bridge.address, bridge.gateway)
        )
        network.create()

    def _has_uplink(self) -> bool:
        if not self._bridge.uplink:
            return True
        master = Path("/sys/class/net") / self._bridge.uplink / "master"
        return master.resolve().name == self._bridge.name

    def _enslave(self, uplink: str) -> None:
        # libvirt forgets foreign members whenever it starts its bridge.
        for words in (["up"], ["master", self._bridge.name]):
            trouble = f"{uplink} cannot be put into {self._bridge.name}"
            _run(["ip", "link", "set", "dev", uplink, *words], trouble)


def _run(command: list[str], trouble: str) -> None:
    """Run a tool; HypervisorError with what it said when it is missing or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"{trouble}: {error}") from error
    if done.returncode:
        raise HypervisorError(f"{trouble}: {done.stderr.strip()}")


def _find(conn: Any) -> Any | None:
    """The network, whether it is active or not; None when there is none."""
    try:
        return conn.networkLookupByName(xml.NETWORK)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
            raise
        return None


def _is_active(conn: Any) -> bool:
    network = _find(conn)
    return network is not None and bool(network.isActive())


def _foreign_leases(conn: Any, wanted: list[HostEntry]) -> list[tuple[str, str]]:
    """Address and MAC of the leases that others still have of these entries' addresses."""
    owners = {entry.address: entry.mac for entry in wanted}
    return [
        (lease["ipaddr"], lease["mac"])
        for lease in conn.networkLookupByName(xml.NETWORK).DHCPLeases()
        if lease["ipaddr"] in owners and lease["mac"] != owners[lease["ipaddr"]]
    ]


def _exchange(conn: Any, instance_id: str, wanted: list[HostEntry]) -> None:
    """Have exactly these entries of the instance, and no other with their addresses."""
    network = conn.networkLookupByName(xml.NETWORK)
    there = xml.read_host_entries(network.XMLDesc())
    macs, addresses = {entry.mac for entry in wanted}, {entry.address for entry in wanted}
    for entry in there:
        meant = entry.name.startswith(f"{instance_id}-")
        if (meant or entry.mac in macs or entry.address in addresses) and entry not in wanted:
            _update(network, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, entry)
    for entry in wanted:
        if entry not in there:
            _update(network, libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, entry)


def _update(network: Any, command: int, entry: HostEntry) -> None:
    flags = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
    network.update(command, libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, entry.document, flags)
