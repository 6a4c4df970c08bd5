"""libvirt's channel between hosts: who is let in, who is believed, and that nothing is plain."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor.certificates import Authority
from devstack.certificates import Certificates
from devstack.hosts import LIBVIRT_TCP_PORT, LIBVIRT_TLS_PORT, Host, HostNet
from tests.fixtures.hosts import require_hosts, running

pytestmark = pytest.mark.clouds


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostNet]:
    """Two hosts whose libvirtds speak TLS only."""
    require_hosts()
    root = tmp_path_factory.mktemp("tls-hosts")
    with running(HostNet(root, 2, certificates=Certificates(root / "certs"))) as made:
        yield made


def ask(host: Host, name: str, pki: Path) -> str:
    """What another host's libvirtd answers to one on ``host``; empty when there is no answer."""
    uri = f"qemu+tls://{name}/system?pkipath={pki}"
    return host.run(["virsh", "--connect", uri, "hostname"]).stdout.strip()


def restart(host: Host) -> None:
    """Have a libvirtd with its files as they are now."""
    host.registry.stop(host.start_libvirtd())
    host.start_libvirtd()
    host.wait_ready()


def client_files(directory: Path) -> Path:
    """A certificate's files under the names that a client of libvirt's looks for."""
    for name in ("cert", "key"):
        if not (link := directory / f"client{name}.pem").exists():
            link.symlink_to(f"{name}.pem")
    return directory


def test_hosts_reach_each_other_by_name_and_address(net: HostNet) -> None:
    first, second = net.hosts()
    assert first.certificate and second.certificate
    assert ask(first, "h2", first.certificate) == "h2"
    assert ask(second, first.address, second.certificate) == "h1"


@pytest.mark.parametrize("role", ["conductor", "api", "broker", "database"])
def test_certificates_of_other_roles_are_not_let_in(net: HostNet, role: str) -> None:
    assert net.certificates
    made = client_files(net.certificates.of(role, "h1", net.host(1).address))
    assert ask(net.host(1), "h2", made) == ""


def test_hosts_of_another_ca_are_not_let_in(net: HostNet, tmp_path: Path) -> None:
    first = net.host(1)
    assert net.certificates
    foreign = Certificates(tmp_path / "foreign").of("host", "h1", first.address)
    assert ask(first, "h2", foreign) == ""
    # It believes the other host, too; libvirt's client would else be the one that ends it.
    both = foreign / "cacert.pem"
    both.write_text(both.read_text() + net.certificates.ca.read_text())
    assert ask(first, "h2", foreign) == ""


def test_a_host_that_is_not_whom_it_is_called_is_not_believed(net: HostNet) -> None:
    first, second = net.hosts()
    assert first.certificate
    hosts = net.hosts_file.read_text()
    net.hosts_file.write_text(f"{hosts}{second.address} h9\n")
    try:
        assert ask(first, "h9", first.certificate) == ""
    finally:
        net.hosts_file.write_text(hosts)


def test_nothing_of_libvirt_listens_without_tls(net: HostNet) -> None:
    for host in net.hosts():
        listening = host.run(["ss", "-Htln"]).stdout.split()
        ports = (LIBVIRT_TCP_PORT, LIBVIRT_TLS_PORT)
        found = [one for one in listening if one.endswith(tuple(f":{port}" for port in ports))]
        assert found == [f"{host.address}:{LIBVIRT_TLS_PORT}"]


def test_a_stolen_hosts_certificate_that_was_taken_back_opens_nothing(
    net: HostNet, tmp_path: Path
) -> None:
    first, second = net.hosts()
    assert net.certificates and first.certificate and second.certificate
    net.certificates.of("host", "h3", "10.0.0.3")
    loot = tmp_path / "loot"
    shutil.copytree(net.certificates.of("host", "h3", "10.0.0.3"), loot)
    authority = Authority(net.certificates.ca.parent)
    authority.issue("h4", "host", [])
    authority.revoke("h4", "host")
    settings = second.directory / "etc" / "libvirtd.conf"
    crl = net.certificates.ca.with_name("cacrl.pem")
    settings.write_text(f'{settings.read_text()}crl_file = "{crl}"\n')
    restart(second)
    assert ask(first, "h2", loot) == "h2"
    authority.revoke("h3", "host")
    restart(second)
    assert ask(first, "h2", loot) == ""
    assert ask(first, "h2", first.certificate) == "h2"
