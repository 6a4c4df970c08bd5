"""A private RabbitMQ: one directory, one TCP address, nothing shared with the system's.

The node and its name service (epmd) listen on 127.0.0.1, at the two ports after the broker's.
Users come from a definitions file with hashed passwords; what each may do is in
`conductor/broker_users.py`.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from conductor.broker_users import Rights, User, describe, hash_password
from devstack.private import secret_file, write_private
from devstack.processes import Record, Registry, wait_until
from devstack.settings import Sections

START_SECONDS = 60.0
STOP_SECONDS = 20.0
CONTROL_SECONDS = 60.0
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CONTROL = SERVER.with_name("rabbitmqctl")
GREETING = b"AMQP\x00\x00\x09\x01"

CONFIGURATION = """\
{listener}
distribution.listener.interface = 127.0.0.1
distribution.listener.port_range.min = {node_port}
distribution.listener.port_range.max = {node_port}
load_definitions = {definitions}
log.console = false
log.file.level = info
disk_free_limit.absolute = 64MB
max_message_size = 16777216
raft.wal_max_size_bytes = 16777216
loopback_users = none
"""

PLAIN = "listeners.tcp.1 = {address}:{port}"
ENCRYPTED = """\
listeners.tcp = none
listeners.ssl.1 = {address}:{port}
ssl_options.cacertfile = {certificate}/cacert.pem
ssl_options.certfile = {certificate}/cert.pem
ssl_options.keyfile = {certificate}/key.pem
ssl_options.verify = verify_none
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2"""
"""Clients show who they are by their passwords, so no certificates of theirs are asked for."""


class BrokerFailed(Exception):
    """The broker did not come up; the text holds the end of its log."""


class Broker:
    """One RabbitMQ node.

    :param directory: holds the data, the logs, the process records and the passwords (0600).
    :param address: the only address that clients reach it at.
    :param port: its TCP port; the two after it are used on 127.0.0.1.
    :param node: the Erlang node's name, without a host.
    :param registry: where its processes are remembered; one of its own when left out.
    :param certificate: the directory with its `cert.pem`, `key.pem` and `cacert.pem`, for TLS;
        without, it speaks plain AMQP.
    """

    def __init__(
        self,
        directory: Path,
        address: str,
        port: int,
        node: str,
        registry: Registry | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.address = address
        self.port = port
        self.node = f"{node}@localhost"
        self.registry = registry or Registry(self.directory)
        self.certificate = certificate

    def start(self, users: Mapping[str, Rights] | None = None) -> None:
        """Start it, with these users beside those that it knows, and wait until it answers.

        :raises BrokerFailed: when it does not answer within a minute.
        """
        self._prepare(users or {})
        environment = self._environment()
        if self.registry.find("epmd") is None:
            command = [self._epmd(), "-address", "127.0.0.1", "-port", str(self.port + 2)]
            self.registry.spawn("epmd", command, env=environment)
        record = self.registry.find("rabbitmq")
        if record is None:
            record = self.registry.spawn("rabbitmq", [str(SERVER)], env=environment)
        wait_until(lambda: self._answers() or not self.registry.alive(record), START_SECONDS)
        if not self._answers():
            raise BrokerFailed("RabbitMQ does not answer on its port:\n" + self._last_words(record))

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop it in order, and by force after `timeout` seconds; its queues stay on disk."""
        for role in ("rabbitmq", "epmd"):
            if record := self.registry.find(role):
                self.registry.stop(record, timeout)

    def kill(self) -> None:
        """End it as a power cut would; `start` brings it back."""
        if record := self.registry.find("rabbitmq"):
            os.kill(record.pid, signal.SIGKILL)
            self.registry.stop(record)

    def control(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run rabbitmqctl against it; takes a second or two."""
        environment = {**os.environ, **self._environment()}
        command = [str(CONTROL), "--quiet", "--node", self.node, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True,
            timeout=CONTROL_SECONDS, check=False,
        )  # fmt: skip

    def control_line(self) -> str:
        """The command line that controls it, for `[conductor] broker_control`."""
        settings = [f"{name}={value}" for name, value in self._environment().items()]
        return shlex.join(["env", *settings, str(CONTROL), "--quiet", "--node", self.node])

    def url(self, user: str) -> str:
        """The transport URL of a user given to `start`, password included."""
        name, password = quote(user, safe=""), quote(self._password(user), safe="")
        return f"rabbit://{name}:{password}@{self.address}:{self.port}/"

    def settings(self) -> Sections:
        """What its clients' configuration says beside their URLs."""
        if self.certificate is None:
            return {}
        ca = self.certificate / "cacert.pem"
        return {"oslo_messaging_rabbit": {"ssl": "true", "ssl_ca_file": ca}}

    def _password(self, user: str) -> str:
        return secret_file(self.directory / f"{user}.password")

    def _prepare(self, users: Mapping[str, Rights]) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        definitions = self.directory / "definitions.json"
        write_private(definitions, json.dumps(self._definitions(users), indent=1))
        write_private(
            self.directory / "rabbitmq.conf",
            CONFIGURATION.format(
                listener=(ENCRYPTED if self.certificate else PLAIN).format(
                    address=self.address, port=self.port, certificate=self.certificate
                ),
                node_port=self.port + 1,
                definitions=definitions,
            ),
        )
        write_private(self.directory / "enabled_plugins", "[].\n")
        write_private(self.directory / "rabbitmq-env.conf", "")

    def _definitions(self, users: Mapping[str, Rights]) -> dict[str, object]:
        return describe(
            {
                name: User(rights, hash_password(self._password(name)))
                for name, rights in users.items()
            }
        )

    def _environment(self) -> dict[str, str]:
        here = self.directory
        return {
            "HOME": str(here),  # where Erlang keeps its cookie
            "ERL_CRASH_DUMP": str(here / "erl_crash.dump"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.port + 2),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(here / "generated"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_PID_FILE": str(here / "rabbitmq.pid"),
            "RABBITMQ_DIST_PORT": str(self.port + 1),
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, so it gets signals
        }

    @staticmethod
    def _epmd() -> str:
        return shutil.which("epmd") or "/usr/bin/epmd"

    def _answers(self) -> bool:
        try:
            with self._connect() as connection:
                connection.sendall(GREETING)
                return connection.recv(1) == b"\x01"  # a method frame: Connection.Start
        except OSError:
            return False

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self.address, self.port), timeout=1.0)
        if self.certificate is None:
            return connection
        context = ssl.create_default_context(cafile=self.certificate / "cacert.pem")
        return context.wrap_socket(connection, server_hostname=self.address)

    def _last_words(self, record: Record) -> str:
        logs = [Path(record.log), *(self.directory / "log").glob("*.log")]
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return "\n".join(lines[-15:])
