"""What is asked of libvirt for a guest, whatever its owner wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from compute_agent.drivers.libvirt import xml
from compute_agent.drivers.libvirt.elsewhere import Files, elsewhere, marks_of, targets_of
from compute_agent.drivers.libvirt.sending import uri_of
from compute_agent.drivers.libvirt.xml import HostEntry, Machine, Marks
from paddock.errors import HypervisorError
from paddock.records import DirectBoot, GuestSpec, ImageSpec, PortSpec
from tests import factories

ID = "5a52b2e7-62af-4930-819a-b43c8f267f67"
MARKS = Marks(
    cloud_id="c", host="h1", instance_id=ID, generation=3, launched_by="a", disk_generation=2
)


def port(**changes: str) -> PortSpec:
    fields = {
        "id": "p", "network_id": "n", "network_name": "private", "mac": "FA:16:3E:00:00:01",
        "address": "10.99.0.7", "cidr": "10.99.0.0/24", "gateway": "",
    }  # fmt: skip
    return PortSpec(**fields | changes)


def machine(**changes: object) -> Machine:
    fields = {
        "name": "paddock-x", "uuid": ID, "virt_type": "qemu", "arch": "x86_64", "machine": "q35",
        "network": "user", "disk": Path("/d/x.g1.raw"), "cache": "none",
        "console": Path("/d/console.log"),
    }  # fmt: skip
    return Machine(**fields | changes)


def boot() -> DirectBoot:
    kernel = ImageSpec(id="i", name="i", file="i", disk_format="raw", checksum="")
    return DirectBoot(kernel=kernel, command_line="quiet <&>")


def domain(guest: GuestSpec, **changes: object) -> Element:
    return fromstring(xml.domain_xml(guest, MARKS, machine(**changes)))


def arguments(tree: Element) -> list[str]:
    return [arg.get("value", "") for arg in tree.iterfind(f".//{{{xml.QEMU}}}arg")]


@given(st.text(max_size=80), st.text(min_size=1, max_size=40), st.text(max_size=80))
def test_no_text_of_the_owner_breaks_out_of_its_place(name: str, key: str, value: str) -> None:
    tree = domain(factories.guest(None, name=name, metadata={key: value}))
    plain = domain(factories.guest(None, name="n", metadata={"k": "v"}))
    assert [element.tag for element in tree.iter()] == [element.tag for element in plain.iter()]
    entry = tree.findtext("./sysinfo/oemStrings/entry") or ""
    assert entry.startswith("paddock:")
    assert "\n" not in entry


def test_metadata_reaches_the_guest_by_smbios() -> None:
    tree = domain(factories.guest(None, metadata={"mark": "a=b, c"}))
    assert tree.findtext("./sysinfo/oemStrings/entry") == "paddock:mark=a=b, c"
    assert tree.find("./os/smbios[@mode='sysinfo']") is not None


def test_the_guest_gets_as_much_metadata_as_smbios_takes() -> None:
    few = {f"k{number:03}": "é" * 255 for number in range(100)}
    most = few | {f"l{number:03}" + "k" * 251: "v" * 255 for number in range(28)}
    assert len(xml.oem_strings(few)) == 100
    entries = domain(factories.guest(None, metadata=most)).findall("./sysinfo/oemStrings/entry")
    told = [entry.text or "" for entry in entries]
    assert told[:100] == xml.oem_strings(few)
    assert 100 < len(told) < 128
    assert xml.OEM_BYTES - 600 < sum(len(text.encode()) + 1 for text in told) <= xml.OEM_BYTES


def test_the_serial_number_is_the_instance_whatever_the_domains_uuid() -> None:
    guest = factories.guest(None)
    tree = domain(guest, uuid="0f0f0f0f-62af-4930-819a-b43c8f267f67")
    assert tree.findtext("./sysinfo/system/entry[@name='serial']") == guest.id


def test_marks_are_read_back() -> None:
    tree = domain(factories.guest(None))
    element = tree.find(f"./metadata/{{{xml.PADDOCK}}}instance")
    assert element is not None
    assert element.get("launched_by") == "a"
    assert xml.read_marks(xml.marks_xml(MARKS)) == MARKS


def test_other_marks_replace_those_in_a_domain() -> None:
    before = xml.domain_xml(factories.guest(None), MARKS, machine())
    after = xml.with_marks(before, Marks("c", "h1", ID, 4, "b", 2, forced=True))
    elements = list(fromstring(after).iterfind(f"./metadata/{{{xml.PADDOCK}}}instance"))
    assert [element.get("launched_by") for element in elements] == ["b"]
    assert xml.disks_of(after) == ["/d/x.g1.raw"]


def test_a_guest_with_a_kernel_is_booted_directly() -> None:
    guest = factories.guest(None, boot=boot())
    direct = domain(guest, kernel=Path("/i/vmlinuz"), ramdisk=Path("/i/initrd"))
    assert direct.findtext("./os/kernel") == "/i/vmlinuz"
    assert direct.findtext("./os/initrd") == "/i/initrd"
    assert direct.findtext("./os/cmdline") == "quiet <&>"
    assert direct.find("./os/boot") is None
    assert domain(guest).find("./os/boot[@dev='hd']") is not None


def test_the_disks_format_is_never_probed() -> None:
    driver = domain(factories.guest(None)).find("./devices/disk/driver")
    assert driver is not None and driver.get("type") == "raw"


def test_a_guest_that_ends_stays_ended_and_one_that_reboots_goes_on() -> None:
    tree = domain(factories.guest(None))
    reactions = [tree.findtext(f"on_{event}") for event in ("poweroff", "crash", "reboot")]
    assert reactions == ["destroy", "destroy", "restart"]


def test_the_user_network_gives_the_port_its_address_and_no_way_out() -> None:
    guest = factories.guest(None, ports=[port(gateway="10.99.0.1"), port(address="10.99.0.8")])
    netdev, device, second, _ = arguments(domain(guest))[1::2]
    options = dict(part.split("=", 1) for part in netdev.split(",")[1:])
    assert options["dhcpstart"] == "10.99.0.7"
    assert options["host"] == "10.99.0.1"
    assert options["restrict"] == "on"
    assert "mac=fa:16:3e:00:00:01" in device
    assert "dhcpstart=10.99.0.8" in second


@pytest.mark.parametrize("address", ["10.99.0.1", "10.99.0.2", "10.99.0.3", "10.99.0.254"])
def test_qemus_own_addresses_never_meet_the_ports(address: str) -> None:
    text = xml.user_net("n", port(address=address))
    options = dict(part.split("=", 1) for part in text.split(",")[1:])
    assert len({options["host"], options["dns"], options["dhcpstart"]}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"mac": "52:54:00:00:00:01,netdev=x"},
        {"address": "10.98.0.1"},
        {"address": "10.99.0.1,x=y"},
        {"cidr": "fd00::/64", "address": "fd00::1"},
        {"cidr": "10.99.0.6/31"},
    ],
)
def test_a_port_that_qemu_could_misread_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(HypervisorError):
        domain(factories.guest(None, ports=[port(**changes)]))


def test_the_bridge_network_is_libvirts() -> None:
    tree = domain(factories.guest(None, ports=[port()]), network="bridge")
    assert tree.find("./devices/interface/source[@network='paddock']") is not None
    assert tree.find("./devices/interface/mac[@address='fa:16:3e:00:00:01']") is not None
    assert arguments(tree) == []


def test_the_network_answers_only_guests_that_it_knows() -> None:
    tree = fromstring(xml.network_xml("brdata", "10.99.0.2/24", "10.99.0.1"))
    options = [option.get("value") for option in tree.iterfind(f".//{{{xml.DNSMASQ}}}option")]
    assert options == ["dhcp-ignore=tag:!known", "dhcp-option=3,10.99.0.1"]
    assert tree.find("./ip[@address='10.99.0.2'][@netmask='255.255.255.0']") is not None
    assert tree.find("./ip/dhcp/range") is None
    assert tree.find("./forward[@mode='open']") is not None


def test_a_network_without_a_gateway_names_no_router() -> None:
    tree = fromstring(xml.network_xml("brdata", "10.99.0.2/24", None))
    options = [option.get("value") for option in tree.iterfind(f".//{{{xml.DNSMASQ}}}option")]
    assert options[-1] == "dhcp-option=3"


def test_host_entries_are_read_as_they_were_written() -> None:
    guest = factories.guest(None, ports=[port(), port(mac="fa:16:3e:00:00:02")])
    entries = xml.host_entries_of(guest)
    assert [entry.name for entry in entries] == [f"{guest.id}-0", f"{guest.id}-1"]
    hosts = "".join(entry.document for entry in entries)
    network = f"<network><ip><dhcp>{hosts}</dhcp></ip></network>"
    assert xml.read_host_entries(network) == entries
    assert entries[0] == HostEntry("fa:16:3e:00:00:01", f"{guest.id}-0", "10.99.0.7")


def test_a_guest_that_goes_elsewhere_finds_its_files_there() -> None:
    here, there = Path("/one"), Path("/two")
    own = machine(
        disk=here / "disks" / f"{ID}.g2.raw", console=here / "guests" / ID / "console.log",
        kernel=Path("/images/kernel"), ramdisk=here / "images" / "ramdisk",
    )  # fmt: skip
    before = xml.domain_xml(factories.guest(image=None, id=ID, boot=boot()), MARKS, own)
    files = Files(here, there, ID, 4)
    after = elsewhere(before, replace(marks_of(before), host="h2", generation=4), files)
    assert xml.disks_of(after) == [f"/two/disks/{ID}.g4.raw"]
    tree = fromstring(after)
    assert tree.findtext("./os/kernel") == "/images/kernel"
    assert tree.findtext("./os/initrd") == "/two/images/ramdisk"
    assert tree.findtext("./name") == own.name
    logs = [one.get("file") for one in tree.iterfind("./devices/serial/log")]
    assert logs == [f"/two/guests/{ID}/console.log"]
    marks = marks_of(after)
    assert (marks.host, marks.generation, marks.instance_id) == ("h2", 4, ID)
    assert targets_of(after) == ["vda"]


@pytest.mark.parametrize(
    "address", ["", "h2", "::1]/x?command=", "10.0.0.1/x", "fe80::1%x?command="]
)
def test_only_an_address_is_taken_from_another_host(address: str) -> None:
    with pytest.raises(HypervisorError, match="is not an IP address"):
        uri_of(address, Path("/pki"))


def test_hypervisors_speak_over_tls_with_what_this_host_shows() -> None:
    assert uri_of("10.0.0.2", Path("/a b")) == "qemu+tls://10.0.0.2/system?pkipath=/a%20b"
    assert uri_of("fd00::2", Path("/pki")) == "qemu+tls://[fd00::2]/system?pkipath=/pki"
