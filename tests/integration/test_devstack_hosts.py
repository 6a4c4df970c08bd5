"""Namespaced hosts: apart where they should be, neighbours where they should be, and removable."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from devstack import network
from devstack.hosts import LIBVIRT_PORT, Host, HostNet
from devstack.processes import wait_until
from devstack.teardown import take_down

pytestmark = pytest.mark.clouds


def pings(host: Host, address: str) -> bool:
    command = ["busybox", "ping", "-c", "1", "-W", "1", address]
    return host.run(command).returncode == 0


def test_each_host_has_its_own_name_and_libvirtd(host_net: HostNet) -> None:
    first, second = host_net.hosts()
    assert first.virsh("hostname").stdout.strip() == "h1"
    assert second.virsh("hostname").stdout.strip() == "h2"
    assert first.machine_id_file.read_text() != second.machine_id_file.read_text()


def test_hosts_reach_each_other_and_the_control_plane_by_name(host_net: HostNet) -> None:
    first, second = host_net.hosts()
    assert pings(first, "h2")
    assert pings(second, "control")
    uri = "qemu+tcp://h2/system"
    assert first.run(["virsh", "--connect", uri, "hostname"]).stdout.strip() == "h2"


def test_hosts_reach_nothing_outside(host_net: HostNet) -> None:
    first = host_net.host(1)
    routes = first.run(["ip", "-json", "route"]).stdout
    assert "default" not in routes
    for bridge in (host_net.control_bridge, host_net.data_bridge):
        switch = Path(f"/proc/sys/net/ipv4/conf/{bridge}/forwarding")
        assert switch.read_text().strip() == "0"


def test_libvirtd_listens_at_its_control_address_only(host_net: HostNet) -> None:
    first = host_net.host(1)
    listening = first.run(["ss", "-Htln"]).stdout.split()
    assert [one for one in listening if one.endswith(f":{LIBVIRT_PORT}")] == [
        f"{first.address}:{LIBVIRT_PORT}"
    ]


def test_a_host_that_is_cut_off_comes_back(host_net: HostNet) -> None:
    first, second = host_net.hosts()
    first.cut()
    try:
        assert not pings(second, first.address)
    finally:
        first.join()
    assert wait_until(lambda: pings(second, first.address), 10)


def test_a_killed_libvirtd_is_started_again(host_net: HostNet) -> None:
    host = host_net.host(2)
    before = host.start_libvirtd()
    os.kill(before.pid, signal.SIGKILL)
    assert wait_until(lambda: not host.registry.alive(before), 5)
    host.up()
    host.wait_ready()
    assert host.start_libvirtd().pid != before.pid


def test_down_leaves_nothing_of_hosts_whose_records_are_lost(
    host_net: HostNet, tmp_path: Path
) -> None:
    """After `host_net`, which skips where hosts cannot be made."""
    net = HostNet(tmp_path, 1)
    net.up()
    host = net.host(1)
    host.up()
    host.wait_ready()
    host.spawn("compute", ["sleep", "600"])
    assert wait_until(lambda: len(network.pids_in(host.namespace)) >= 3, 10)
    for record in net.registry.run.glob("*.json"):
        record.unlink()
    take_down(tmp_path)
    assert network.namespaces(net.prefix) == network.links(net.prefix) == []
    assert net.registry.marked() == []
    assert host_net.host(1).ready()
