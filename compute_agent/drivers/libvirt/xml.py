"""Pure functions from records to libvirt's XML, and back from what it keeps for us."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from defusedxml.ElementTree import fromstring

from paddock.errors import HypervisorError
from paddock.records import GuestSpec, PortSpec

PADDOCK = "https://paddock.example/xmlns/instance/1"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"
for _prefix, _space in (("paddock", PADDOCK), ("qemu", QEMU), ("dnsmasq", DNSMASQ)):
    ElementTree.register_namespace(_prefix, _space)

ROOT_PORTS = 12
"""PCIe ports made beforehand, for devices that are attached to a running guest."""
USER_NET_SLOT = 0x10
"""First slot on the root bus for the network cards that libvirt does not know of; it fills the
bus from slot 1 on and uses 0x1f."""
ROOT_BUS = {"q35": "pcie.0", "pc": "pci.0"}
OEM_BYTES = 60 * 1024
"""Room for metadata in SMBIOS: QEMU's tables end at 64 KiB, and the argument by which libvirt hands
them over, in which a comma counts twice, at 128 KiB."""
NETWORK = "paddock"
_ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


@dataclass(frozen=True)
class Marks:
    """What a domain's metadata says of it.

    :ivar launched_by: the action that launched it last
    :ivar disk_generation: names the disk file that it runs on
    :ivar forced: the agent is about to end it, or did
    """

    cloud_id: str
    host: str
    instance_id: str
    generation: int
    launched_by: str
    disk_generation: int
    forced: bool = False


@dataclass(frozen=True)
class Machine:
    """What the host adds to a guest to make a domain of it.

    :ivar uuid: the domain's; the guest's serial number is the instance's id in any case
    :ivar virt_type: ``kvm`` or ``qemu``
    :ivar machine: QEMU's machine type
    :ivar network: ``bridge`` or ``user``
    :ivar cache: QEMU's cache mode for the disk
    :ivar kernel, ramdisk: for a guest that is booted directly
    """

    name: str
    uuid: str
    virt_type: str
    arch: str
    machine: str
    network: str
    disk: Path
    cache: str
    console: Path
    kernel: Path | None = None
    ramdisk: Path | None = None


def domain_xml(guest: GuestSpec, marks: Marks, machine: Machine) -> str:
    """The domain of a guest."""
    domain = Element("domain", type=machine.virt_type)
    _text(domain, "name", machine.name)
    _text(domain, "uuid", machine.uuid)
    _text(domain, "title", " ".join(guest.name.split())[:255] or guest.id)
    SubElement(domain, "metadata").append(_marks(marks))
    _text(domain, "memory", guest.memory_mb, unit="MiB")
    _text(domain, "vcpu", guest.vcpus)
    _add_sysinfo(domain, guest)
    _add_boot(domain, guest, machine)
    _add_behaviour(domain, machine)
    _add_devices(domain, guest, machine)
    if machine.network == "user":
        _add_user_network(domain, guest.ports, ROOT_BUS.get(machine.machine, "pcie.0"))
    return _string(domain)


def probe_xml(name: str, virt_type: str, arch: str, machine: str, disk: Path, output: Path) -> str:
    """The smallest domain that boots from a disk and has a serial port."""
    domain = Element("domain", type=virt_type)
    _text(domain, "name", name)
    _text(domain, "memory", 32, unit="MiB")
    system = SubElement(domain, "os")
    _text(system, "type", "hvm", arch=arch, machine=machine)
    SubElement(system, "boot", dev="hd")
    devices = SubElement(domain, "devices")
    _add_disk(devices, disk, "writeback")
    _add_serial(devices, output)
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "memballoon", model="none")
    return _string(domain)


def marks_xml(marks: Marks) -> str:
    """The metadata element of these marks, to which libvirt itself adds the namespace."""
    return _string(_marks(marks, "instance"))


def read_marks(text: str) -> Marks:
    """The marks in a metadata element."""
    element = fromstring(text)
    return Marks(
        cloud_id=element.get("cloud", ""),
        host=element.get("host", ""),
        instance_id=element.get("instance", ""),
        generation=int(element.get("generation", "0")),
        launched_by=element.get("launched_by", ""),
        disk_generation=int(element.get("disk_generation", "0")),
        forced=element.get("forced") == "yes",
    )


def with_marks(domain: str, marks: Marks) -> str:
    """The domain's XML with other marks."""
    tree = fromstring(domain)
    metadata = tree.find("metadata")
    if metadata is None:
        metadata = SubElement(tree, "metadata")
    for old in metadata.findall(f"{{{PADDOCK}}}instance"):
        metadata.remove(old)
    metadata.append(_marks(marks))
    return _string(tree)


def disks_of(domain: str) -> list[str]:
    """The files that a domain has as disks."""
    return [
        source.get("file", "")
        for source in fromstring(domain).iterfind("./devices/disk/source")
        if source.get("file")
    ]


def network_xml(bridge: str, address: str, gateway: str | None) -> str:
    """The network that libvirt's dnsmasq serves on this host, to known guests only.

    :param address: this host's own on the bridge, with prefix: ``10.99.0.2/24``
    :param gateway: told to guests as their router; None for none
    """
    own = ipaddress.ip_interface(address)
    network = Element("network")
    _text(network, "name", NETWORK)
    SubElement(network, "forward", mode="open")
    SubElement(network, "bridge", name=bridge, stp="off", delay="0")
    SubElement(network, "dns", enable="no")
    ip = SubElement(network, "ip", address=str(own.ip), netmask=str(own.netmask))
    # libvirt needs 2 s for a first entry to come or a last one to go: this one stays.
    dhcp = SubElement(ip, "dhcp")
    SubElement(dhcp, "host", mac="52:54:00:00:00:00", name="paddock-none", ip=str(own.ip))
    options = SubElement(network, f"{{{DNSMASQ}}}options")
    # Without the first, the dnsmasq of each host would refuse the leases of the others.
    for value in ("dhcp-ignore=tag:!known", f"dhcp-option=3{',' + gateway if gateway else ''}"):
        SubElement(options, f"{{{DNSMASQ}}}option", value=value)
    return _string(network)


class HostEntry(NamedTuple):
    """By which dnsmasq knows a port; ``name`` is unique in the network."""

    mac: str
    name: str
    address: str

    @property
    def document(self) -> str:
        """Its XML."""
        return _string(Element("host", mac=self.mac, name=self.name, ip=self.address))


def host_entries_of(guest: GuestSpec) -> list[HostEntry]:
    """The entries of a guest's ports: their names begin with the guest's id and a hyphen."""
    return [
        HostEntry(_mac(port), f"{guest.id}-{number}", port.address)
        for number, port in enumerate(guest.ports)
    ]


def read_host_entries(network: str) -> list[HostEntry]:
    """The entries in a network's XML."""
    return [
        HostEntry(host.get("mac", "").lower(), host.get("name", ""), host.get("ip", ""))
        for host in fromstring(network).iterfind("./ip/dhcp/host")
    ]


def _add_sysinfo(domain: Element, guest: GuestSpec) -> None:
    info = SubElement(domain, "sysinfo", type="smbios")
    system = SubElement(info, "system")
    for name, value in (("manufacturer", "Paddock"), ("product", "Server"), ("serial", guest.id)):
        _text(system, "entry", value, name=name)
    if guest.metadata:
        strings = SubElement(info, "oemStrings")
        for entry in oem_strings(guest.metadata):
            _text(strings, "entry", entry)


def oem_strings(metadata: dict[str, str]) -> list[str]:
    """Metadata as the guest gets them, in the order of their names, up to the first that does not
    fit."""
    entries = [_clean(f"paddock:{key}={value}") for key, value in sorted(metadata.items())]
    ends = accumulate(len(entry.encode()) + 1 for entry in entries)
    return [entry for entry, end in zip(entries, ends, strict=True) if end <= OEM_BYTES]


def _add_boot(domain: Element, guest: GuestSpec, machine: Machine) -> None:
    system = SubElement(domain, "os")
    _text(system, "type", "hvm", arch=machine.arch, machine=machine.machine)
    if machine.kernel is not None:
        _text(system, "kernel", machine.kernel)
        if machine.ramdisk is not None:
            _text(system, "initrd", machine.ramdisk)
        if guest.boot is not None and guest.boot.command_line:
            _text(system, "cmdline", guest.boot.command_line)
    else:
        SubElement(system, "boot", dev="hd")
    SubElement(system, "smbios", mode="sysinfo")


def _add_behaviour(domain: Element, machine: Machine) -> None:
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if machine.virt_type == "kvm":
        SubElement(domain, "cpu", mode="host-model")
    SubElement(domain, "clock", offset="utc")
    for event, reaction in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _text(domain, f"on_{event}", reaction)
    power = SubElement(domain, "pm")
    SubElement(power, "suspend-to-mem", enabled="no")
    SubElement(power, "suspend-to-disk", enabled="no")


def _add_devices(domain: Element, guest: GuestSpec, machine: Machine) -> None:
    devices = SubElement(domain, "devices")
    if ROOT_BUS.get(machine.machine) != "pci.0":
        SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
        for _ in range(ROOT_PORTS):
            SubElement(devices, "controller", type="pci", model="pcie-root-port")
    SubElement(devices, "controller", type="usb", model="none")
    _add_disk(devices, machine.disk, machine.cache)
    if machine.network == "bridge":
        for port in guest.ports:
            _add_bridged(devices, port)
    _add_serial(devices, machine.console)
    SubElement(devices, "memballoon", model="virtio")
    rng = SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")


def _add_disk(devices: Element, path: Path, cache: str) -> None:
    disk = SubElement(devices, "disk", type="file", device="disk")
    # The format is stated: probed, a guest could turn its disk into a door to other files.
    SubElement(disk, "driver", name="qemu", type="raw", cache=cache, discard="unmap")
    SubElement(disk, "source", file=str(path))
    SubElement(disk, "target", dev="vda", bus="virtio")


def _add_serial(devices: Element, log: Path) -> None:
    serial = SubElement(devices, "serial", type="pty")
    SubElement(serial, "log", file=str(log), append="on")
    SubElement(serial, "target", port="0")


def _add_bridged(devices: Element, port: PortSpec) -> None:
    interface = SubElement(devices, "interface", type="network")
    SubElement(interface, "source", network=NETWORK)
    SubElement(interface, "mac", address=_mac(port))
    SubElement(interface, "model", type="virtio")
    SubElement(interface, "rom", enabled="no")


def _add_user_network(domain: Element, ports: list[PortSpec], bus: str) -> None:
    """libvirt's own user network cannot be told the address that the guest is to get."""
    command = SubElement(domain, f"{{{QEMU}}}commandline")
    for number, port in enumerate(ports):
        name = f"paddock{number}"
        device = f"virtio-net-pci,netdev={name},id={name}-card,mac={_mac(port)},romfile="
        device += f",bus={bus},addr={USER_NET_SLOT + number:#x}"
        for value in ("-netdev", user_net(name, port), "-device", device):
            SubElement(command, f"{{{QEMU}}}arg", value=value)


def user_net(name: str, port: PortSpec) -> str:
    """QEMU's ``-netdev`` that gives the guest the port's address by DHCP, and no way out.

    :raises HypervisorError: the port has no IPv4 address in its subnet
    """
    try:
        subnet = ipaddress.IPv4Network(port.cidr, strict=False)
        address = ipaddress.IPv4Address(port.address)
        gateway = ipaddress.IPv4Address(port.gateway) if port.gateway else None
    except ValueError as error:
        raise HypervisorError(f"The user network serves IPv4 only: {error}.") from error
    if address not in subnet:
        raise HypervisorError(f"The address {address} is not in {subnet}.")
    taken = {address, gateway}
    free = (str(own) for own in subnet.hosts() if own not in taken)
    fits = gateway is not None and gateway in subnet and gateway != address
    host = str(gateway) if fits else next(free, "")
    dns = next(free, "")
    if not host or not dns:
        raise HypervisorError(f"The subnet {subnet} is too small for the user network.")
    return (
        f"user,id={name},net={subnet},host={host},dns={dns},dhcpstart={address},"
        "ipv6=off,restrict=on"
    )


def _marks(marks: Marks, tag: str = f"{{{PADDOCK}}}instance") -> Element:
    return Element(
        tag,
        {
            "cloud": marks.cloud_id,
            "host": marks.host,
            "instance": marks.instance_id,
            "generation": str(marks.generation),
            "launched_by": marks.launched_by,
            "disk_generation": str(marks.disk_generation),
            "forced": "yes" if marks.forced else "no",
        },
    )


def _mac(port: PortSpec) -> str:
    if not _MAC.fullmatch(port.mac):
        raise HypervisorError(f"{port.mac!r} is not a MAC address.")
    return port.mac.lower()


def _text(parent: Element, tag: str, value: object, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = _clean(str(value))


def _clean(text: str) -> str:
    # Line ends and control characters: the former libvirt trims or refuses, the latter no XML has.
    return " ".join(_ILLEGAL.sub(" ", text).splitlines())


def _string(element: Element) -> str:
    return ElementTree.tostring(element, encoding="unicode")
