"""A broker that speaks TLS only: who reaches it, and that nobody else is believed to be it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from devstack.broker import SERVER, Broker
from devstack.ports import free_ports
from paddock import config, rpc, runtime
from paddock.errors import BusUnavailable
from tests.bus_contract import CTXT, Endpoint
from tests.fixtures.certificates import Certificates, certificates, strangers
from tests.fixtures.rabbitmq import USERS

__all__ = ["certificates", "strangers"]

SECONDS = 5.0
CALL = """
from paddock import runtime
runtime.choose()
import sys
from paddock import config, rpc
from paddock.context import RequestContext
client = rpc.Client(rpc.transport(config.load(files=sys.argv[1:]), "api"), 5)
client.start()
print(client.to(rpc.conductor_target("conductor-api")).call(RequestContext(), "echo", value=8))
client.stop(5)
"""


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Broker]:
    if not SERVER.exists():
        pytest.skip(f"RabbitMQ is not installed: there is no {SERVER}")
    made = certificates.issue("broker", "broker", "127.0.0.1")
    directory: Path = tmp_path_factory.mktemp("rabbitmq")
    broker = Broker(directory, "127.0.0.1", free_ports(3), "paddock-tls", certificate=made)
    try:
        broker.start(USERS)
        yield broker
    finally:
        broker.stop()


class Site:
    """Processes' configuration files."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        self._directory = directory
        self._broker = broker

    def write(self, user: str, host: str, url: str | None = None, **options: object) -> Path:
        path = self._directory / f"{user}.conf"
        lines = [f"{key} = {value}" for key, value in options.items()]
        path.write_text(
            f"[DEFAULT]\nhost = {host}\ntransport_url = {url or self._broker.url(user)}\n"
            "[oslo_messaging_rabbit]\n" + "\n".join(lines)
        )
        return path


@pytest.fixture
def site(tmp_path: Path, broker: Broker) -> Site:
    return Site(tmp_path, broker)


@pytest.fixture
def conductor(site: Site, certificates: Certificates) -> Iterator[Endpoint]:
    """A conductor that answers."""
    settings = site.write("c1", "c1", ssl="true", ssl_ca_file=certificates.ca)
    transport = rpc.transport(config.load(files=[settings]), "conductor")
    endpoint = Endpoint()
    target = rpc.conductor_target("conductor-api", "c1")
    server = rpc.Server(transport, target, [endpoint], 2)
    server.start()
    yield endpoint
    server.stop(SECONDS)
    transport.cleanup()


def call(settings: Path) -> object:
    """What a client that is configured so hears from the conductor."""
    client = rpc.Client(rpc.transport(config.load(files=[settings]), "api"), SECONDS)
    client.start()
    try:
        return client.to(rpc.conductor_target("conductor-api")).call(CTXT, "echo", value=8)
    finally:
        client.stop(SECONDS)


@contextmanager
def relayed(port: int) -> Iterator[int]:
    """A port of 127.0.0.2 whose connections all lead to one of 127.0.0.1."""

    def pass_on(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while came := one.recv(65536):
                other.sendall(came)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = entrance.accept()
                far = socket.create_connection(("127.0.0.1", port), SECONDS)
                far.settimeout(None)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pass_on, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.2", 0)) as entrance:
        threading.Thread(target=accept, daemon=True).start()
        yield entrance.getsockname()[1]
        entrance.shutdown(socket.SHUT_RDWR)


def test_a_client_that_verifies_is_served(
    site: Site, conductor: Endpoint, certificates: Certificates
) -> None:
    assert call(site.write("api", "ctl", ssl="true", ssl_ca_file=certificates.ca)) == 8


@pytest.mark.parametrize("backend", [runtime.THREADING, runtime.EVENTLET])
def test_a_process_of_either_backend_is_served(
    site: Site, conductor: Endpoint, certificates: Certificates, backend: str
) -> None:
    settings = site.write("api", "ctl", ssl="true", ssl_ca_file=certificates.ca)
    done = subprocess.run(
        [sys.executable, "-c", CALL, str(settings)], env={runtime.VARIABLE: backend},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "8\n", done.stderr


def test_nobody_is_served_without_tls(site: Site, conductor: Endpoint) -> None:
    with pytest.raises(BusUnavailable):
        call(site.write("api", "ctl"))


def test_a_broker_of_another_ca_is_not_believed(
    site: Site, conductor: Endpoint, strangers: Certificates
) -> None:
    with pytest.raises(BusUnavailable):
        call(site.write("api", "ctl", ssl="true", ssl_ca_file=strangers.ca))


def test_a_ca_that_is_not_named_is_not_believed_either(site: Site, conductor: Endpoint) -> None:
    with pytest.raises(BusUnavailable):
        call(site.write("api", "ctl", ssl="true"))


def test_a_broker_of_another_name_is_not_believed(
    site: Site, conductor: Endpoint, broker: Broker, certificates: Certificates
) -> None:
    """Its certificate is of the right CA, and is not for 127.0.0.2 (where the same one answers)."""
    url = broker.url("api")
    with relayed(broker.port) as port:
        other = url.replace(f"127.0.0.1:{broker.port}", f"127.0.0.2:{port}")
        trusting = {"ssl": "true", "ssl_ca_file": certificates.ca}
        with pytest.raises(BusUnavailable):
            call(site.write("api", "ctl", other, **trusting))
        with pytest.raises(BusUnavailable):  # nor is it among several
            several = other.rstrip("/") + f",{other.removeprefix('rabbit://')}"
            call(site.write("api", "ctl", several, **trusting))
        mixed = other.rstrip("/") + f",{url.removeprefix('rabbit://')}"
        for _ in range(6):  # in whichever order they are tried
            settings = site.write(
                "api", "ctl", mixed, kombu_failover_strategy="round-robin", **trusting
            )
            assert call(settings) == 8


def test_a_renewed_certificate_is_shown_without_a_restart(
    broker: Broker, certificates: Certificates
) -> None:
    def shown() -> bytes:
        context = ssl.create_default_context(cafile=str(certificates.ca))
        with (
            socket.create_connection(("127.0.0.1", broker.port), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as peer,
        ):
            return peer.getpeercert(binary_form=True) or b""

    before = shown()
    made = certificates.issue("broker", "broker", "127.0.0.1")
    assert broker.control("eval", "ssl:clear_pem_cache().").returncode == 0
    assert shown() == ssl.PEM_cert_to_DER_cert((made / "cert.pem").read_text()) != before


def test_old_versions_of_tls_are_refused(broker: Broker) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", broker.port), SECONDS) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)version"),
    ):
        context.wrap_socket(plain)
