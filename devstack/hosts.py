"""Several hosts on one machine: each a network, mount and UTS namespace with its own libvirtd.

Two bridges in the root namespace join them: the control bridge, on which the broker, the database
and every host have an address, and the data bridge, which makes the guests of all hosts neighbours
on one layer-2 network. Neither leads anywhere else: nothing is translated or forwarded.
"""

import json
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devstack import network
from devstack.processes import Record, Registry, end, wait_until
from devstack.say import last_line

if TYPE_CHECKING:  # what takes hosts down needs the standard library only
    from devstack.certificates import Certificates

LIBVIRT_PORT = 16509
READY_SECONDS = 30.0
NAMESPACE = uuid.UUID("6c0f6f0e-59d6-4b7c-9a1f-5d2a2f0c7f11")
HOST_SCRIPT = Path(__file__).with_name("host.sh")
LIBVIRTD_CONF = """\
{listen}
listen_addr = "{address}"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
host_uuid = "{uuid}"
min_workers = 20
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
CLOSED = """\
listen_tls = 0
listen_tcp = 0"""
OPEN = """\
listen_tls = 0
listen_tcp = 1
auth_tcp = "none\""""
AMONG_HOSTS = """\
listen_tls = 1
listen_tcp = 0
auth_tls = "none"
key_file = "{pki}/server-key.pem"
cert_file = "{pki}/server-cert.pem"
ca_file = "{pki}/ca-cert.pem"
tls_allowed_dn_list = ["CN=*,OU=host,O=*", "O=*,OU=host,CN=*"]"""
MIGRATION_CONF = """\
default_tls_x509_cert_dir = "{pki}"
default_tls_x509_verify = 1
"""
PKI = {
    "cacert.pem": ("cacert.pem", "ca-cert.pem"),
    "cert.pem": ("clientcert.pem", "client-cert.pem", "server-cert.pem"),
    "key.pem": ("clientkey.pem", "client-key.pem", "server-key.pem"),
}
"""A host's own files, and the names by which libvirt and QEMU look for them."""
QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
migration_address = "{address}"
migration_host = "{address}"
"""


class HostFailed(RuntimeError):
    """A host did not come up; the text says what was seen last."""


class HostNet:
    """The two bridges and the addresses of all hosts of one directory.

    :param directory: everything of these hosts lies below it; the names of bridges and namespaces
        are made from its path, so two checkouts on one machine do not meet.
    :param size: how many hosts there are, at most network.MOST_HOSTS.
    :param registry: where the hosts' processes are remembered; one of its own when left out.
    :param certificates: gives each host its own, for its agent.
    :param remote: whether the libvirtds also listen on plain TCP, for tests that meddle with them:
        every user of this machine commands such a one.
    :param live: whether hosts with a certificate command each other's libvirtd, over TLS, which
        handing guests over needs.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        registry: Registry | None = None,
        certificates: "Certificates | None" = None,
        *,
        remote: bool = False,
        live: bool = False,
    ) -> None:
        if not 1 <= size <= network.MOST_HOSTS:
            raise ValueError(f"the number of hosts must be 1 to {network.MOST_HOSTS}, not {size}")
        self.directory = directory.resolve()
        self.size = size
        self.registry = registry or Registry(self.directory)
        self.certificates = certificates
        self.remote = remote
        self.live = live and certificates is not None
        self.prefix = network.prefix(self.directory)
        self.control_bridge = f"{self.prefix}c"
        self.data_bridge = f"{self.prefix}d"
        self.plan = network.Plan(0)

    def up(self) -> None:
        """Make both bridges with their addresses; harmless when they are there."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.plan = self._chosen_plan()
        network.make_bridge(self.control_bridge, self.plan.control(self.plan.root_host))
        network.make_bridge(self.data_bridge, self.plan.guest_gateway)
        self._write_hosts_file()

    @property
    def address(self) -> str:
        """The root namespace's address on the control bridge, for the broker and the database."""
        return self.plan.control(self.plan.root_host)

    @property
    def hosts_file(self) -> Path:
        """The file that every host sees as /etc/hosts."""
        return self.directory / "etc-hosts"

    def host(self, number: int) -> "Host":
        """Host `number`, counted from 1; it need not be up."""
        if not 1 <= number <= self.size:
            raise ValueError(f"there is no host {number}, only 1 to {self.size}")
        return Host(self, number)

    def hosts(self) -> list["Host"]:
        """All hosts in order."""
        return [self.host(number) for number in range(1, self.size + 1)]

    def destroy(self) -> None:
        """End every process in our namespaces, guests included, and remove all that `up` made.

        Needs only the directory's name, so it works after any failure and may be repeated.
        """
        for name in network.namespaces(self.prefix):
            for record in reversed(self.registry.records()):
                if record.namespace == name:
                    self.registry.stop(record)
            end(network.pids_in(name))
            network.delete_namespace(name)
        for link in network.links(self.prefix):
            network.delete_link(link)
        (self.directory / "network.json").unlink(missing_ok=True)

    def _chosen_plan(self) -> "network.Plan":
        path = self.directory / "network.json"
        if path.exists() and network.link_exists(self.control_bridge):
            return network.Plan(int(json.loads(path.read_text())["subnet"]))
        plan = network.free_plan(self.prefix)
        path.write_text(json.dumps({"subnet": plan.subnet}))
        return plan

    def _write_hosts_file(self) -> None:
        lines = ["127.0.0.1 localhost", f"{self.address} control"]
        lines += [f"{host.address} {host.name}" for host in self.hosts()]
        # Written in place: the hosts that are up have this very file bound over theirs.
        self.hosts_file.write_text("\n".join(lines) + "\n")


class Host:
    """One host of a HostNet. Its name is `h` and its number."""

    def __init__(self, net: HostNet, number: int) -> None:
        self.net = net
        self.number = number
        self.name = f"h{number}"
        self.namespace = f"{net.prefix}{self.name}"
        self.directory = net.directory / "hosts" / self.name
        self.registry = net.registry

    @property
    def address(self) -> str:
        """Its address on the control bridge; its libvirtd listens there."""
        return self.net.plan.control(self.number)

    @property
    def certificate(self) -> Path | None:
        """The directory of its own certificate, which is its agent's `pki_path`."""
        made = self.net.certificates
        return made.of("host", self.name, self.address) if made else None

    @property
    def migration_pki(self) -> Path:
        """The directory of the same certificate under the names that libvirt and QEMU want."""
        return self.directory / "pki"

    @property
    def data_address(self) -> str:
        """The address that its own bridge towards the guests may have."""
        return self.net.plan.data(self.number)

    @property
    def data_interface(self) -> str:
        """The interface inside the host that reaches the data bridge, left out of any bridge."""
        return "data0"

    @property
    def machine_id_file(self) -> Path:
        """The file that identifies this host, as /etc/machine-id does a machine."""
        return self.directory / "machine-id"

    def up(self, *, hypervisor: bool = True) -> None:
        """Make the namespaces and start libvirtd; harmless when they are there.

        :param hypervisor: False for a host whose agent needs no libvirtd.
        """
        self._make_network()
        if self._holder() is None:
            self._make_files()
            self._start_holder()
        if hypervisor:
            self.start_libvirtd()

    def start_libvirtd(self) -> Record:
        """Start this host's libvirtd if it is not running."""
        if record := self.registry.find(f"libvirtd-{self.name}"):
            return record
        listen = ["--listen"] if self.net.remote or self.net.live else []
        return self.spawn("libvirtd", ["libvirtd", *listen, "-p", "/run/libvirt/libvirtd.pid"])

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until libvirtd answers on its socket, and at its address if it is to.

        :raises HostFailed: when it does not within `timeout` seconds.
        """
        name = f"libvirtd-{self.name}"
        wait_until(lambda: self.ready() or self.registry.find(name) is None, timeout)
        if not self.ready():
            last = last_line(self.registry.logs / f"{name}.log")
            raise HostFailed(f"libvirtd of {self.name} does not answer; its log ends: {last}")

    def ready(self) -> bool:
        """Whether libvirtd answers now."""
        return (not self.net.remote or self._is_open()) and self.virsh("uri").returncode == 0

    def _is_open(self) -> bool:
        try:
            socket.create_connection((self.address, LIBVIRT_PORT), timeout=2).close()
        except OSError:
            return False
        return True

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside this host's namespaces.

        :raises HostFailed: when the host is not up.
        """
        holder = self._holder()
        if holder is None:
            raise HostFailed(f"host {self.name} is not up")
        return ["nsenter", f"--target={holder.pid}", "--net", "--mount", "--uts", "--", *argv]

    def spawn(self, role: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Record:
        """Start a process inside the host, remembered as `role` of this host."""
        return self.registry.spawn(
            role, self.enter(argv), host=self.name, namespace=self.namespace, env=env
        )

    def run(self, argv: Sequence[str], timeout: float = 20.0) -> "subprocess.CompletedProcess[str]":
        """Run a command inside the host to its end and return what it said."""
        command = self.enter(argv)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    def virsh(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run virsh against this host's libvirtd."""
        return self.run(["virsh", "--connect", "qemu:///system", *arguments])

    def cut(self) -> None:
        """Take the host's control link down: it reaches neither the broker nor other hosts."""
        network.set_link(f"{self.net.control_bridge}{self.number}", up=False)

    def join(self) -> None:
        """Take the control link up again."""
        network.set_link(f"{self.net.control_bridge}{self.number}", up=True)

    def _holder(self) -> Record | None:
        return self.registry.find(f"host-{self.name}")

    def _make_network(self) -> None:
        network.make_namespace(self.namespace)
        for bridge, inside in (
            (self.net.control_bridge, "eth0"),
            (self.net.data_bridge, self.data_interface),
        ):
            network.plug(bridge, f"{bridge}{self.number}", self.namespace, inside)
        network.set_address(self.namespace, "eth0", self.address)

    def _make_files(self) -> None:
        for part in ("run", "lib", "etc", "log", "cache", "cgroup"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        identity = uuid.uuid5(NAMESPACE, str(self.directory))
        self.machine_id_file.write_text(f"{identity.hex}\n")
        etc = self.directory / "etc"
        (etc / "libvirtd.conf").write_text(
            LIBVIRTD_CONF.format(listen=self._listen(), address=self.address, uuid=identity)
        )
        qemu = QEMU_CONF.format(address=self.address)
        if self.net.live:
            self._name_certificate()
            qemu += MIGRATION_CONF.format(pki=self.migration_pki)
        (etc / "qemu.conf").write_text(qemu)

    def _listen(self) -> str:
        if self.net.live:
            return AMONG_HOSTS.format(pki=self.migration_pki)
        return OPEN if self.net.remote else CLOSED

    def _name_certificate(self) -> None:
        assert self.certificate is not None
        self.migration_pki.mkdir(mode=0o700, exist_ok=True)
        for own, names in PKI.items():
            for name in names:
                link = self.migration_pki / name
                link.unlink(missing_ok=True)
                link.symlink_to(self.certificate / own)

    def _start_holder(self) -> None:
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        script = [str(HOST_SCRIPT), self.name, str(self.directory), str(self.net.hosts_file)]
        netns = f"--net=/run/netns/{self.namespace}"
        holder = self.registry.spawn(
            "host",
            ["nsenter", netns, "unshare", "--mount", "--uts", *script],
            host=self.name,
            namespace=self.namespace,
        )
        wait_until(lambda: ready.exists() or not self.registry.alive(holder), READY_SECONDS)
        if not ready.exists():
            log = Path(holder.log).read_text(errors="replace")[-500:]
            raise HostFailed(f"the namespaces of {self.name} could not be set up: {log}")
