"""Names and addresses of namespaced hosts."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from devstack.hosts import HostNet
from devstack.network import MOST_HOSTS, Plan, free_plan, prefix

LONGEST_INTERFACE_NAME = 15


def test_names_fit_into_the_kernel_and_differ_between_checkouts(tmp_path: Path) -> None:
    net = HostNet(tmp_path, MOST_HOSTS)
    assert len(f"{net.control_bridge}{MOST_HOSTS}") <= LONGEST_INTERFACE_NAME
    assert prefix(tmp_path) != prefix(tmp_path / "other")


def test_a_subnet_that_is_routed_elsewhere_is_not_taken() -> None:
    wanted = free_plan("name", taken=[])
    assert free_plan("name", taken=wanted.networks()[:1]) != wanted
    assert free_plan("name", taken=wanted.networks()[1:]) != wanted


def test_no_subnet_is_forced_when_all_are_taken() -> None:
    with pytest.raises(RuntimeError, match="no subnet is free"):
        free_plan("name", taken=[ipaddress.IPv4Network("10.0.0.0/8")])


def test_hosts_gateway_and_guests_never_share_an_address() -> None:
    plan = Plan(7)
    hosts = [plan.data(number) for number in range(1, MOST_HOSTS + 1)]
    first, last = map(ipaddress.IPv4Address, plan.guest_range)
    taken = [ipaddress.IPv4Address(address) for address in (*hosts, plan.guest_gateway)]
    assert len(set(taken)) == MOST_HOSTS + 1
    assert not any(first <= address <= last for address in taken)


@pytest.mark.parametrize("size", [0, MOST_HOSTS + 1])
def test_an_impossible_number_of_hosts_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="number of hosts must be 1 to"):
        HostNet(tmp_path, size)
