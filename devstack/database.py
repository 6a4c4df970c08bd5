"""Private database servers: one data directory, one TCP address, nothing shared with the system's.

Both servers refuse to run as root, and their own user may not be able to reach a directory below
root's home. So as root the directory is bound over /srv in a mount namespace of the server's own
and the server runs there as the user that Debian's package made; an ordinary user's server simply
runs as that user.
"""

import os
import pwd
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg
import pymysql
from psycopg import sql

from devstack.private import secret_file, write_private
from devstack.processes import Registry, wait_until

START_SECONDS = 60.0
PREPARE_SECONDS = 120.0
BOUND = Path("/srv")
BIND_AND_RUN = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
ADMINISTRATOR = "administrator"
CERTIFICATE_FILES = ("cacert.pem", "cert.pem", "key.pem")


class DatabaseFailed(RuntimeError):
    """A database server could not be prepared or started; the text holds the end of its log."""


class Server(ABC):
    """What both servers share.

    :param directory: holds the data, the log, the process record and the passwords (0600).
    :param address: the only address that the server listens on.
    :param port: its TCP port.
    :param registry: where its process is remembered; one of its own when left out.
    :param certificate: the directory with its `cert.pem`, `key.pem` and `cacert.pem`: with it
        every connection must be encrypted, and its clients verify it.
    :param settings: the server's own settings, beside those that are needed.
    """

    role: str
    users: tuple[str, ...]
    stop_signal = "SIGTERM"

    def __init__(
        self,
        directory: Path,
        address: str,
        port: int,
        registry: Registry | None = None,
        certificate: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.address = address
        self.port = port
        self.registry = registry or Registry(self.directory)
        self.certificate = certificate
        self.settings = settings or {}
        self.cluster = self.directory / "cluster"
        self.root = os.geteuid() == 0
        self.home = BOUND if self.root else self.cluster

    def start(self) -> None:
        """Prepare the data directory on the first call, start the server, wait until it answers.

        :raises DatabaseFailed: when it cannot be prepared or does not answer within a minute.
        """
        password = secret_file(self.directory / "administrator.password")
        if not (self.cluster / "prepared").exists():
            self._prepare(password)
        record = self.registry.find(self.role)
        if record is None:
            self._take_certificate()
            command = self._as_user(self._server())
            record = self.registry.spawn(self.role, command, stop_signal=self.stop_signal)
        wait_until(lambda: self._answers() or not self.registry.alive(record), START_SECONDS)
        if not self._answers():
            log = Path(record.log).read_text(errors="replace").splitlines()[-15:]
            raise DatabaseFailed(f"{self.role} does not answer on its port:\n" + "\n".join(log))

    def stop(self, timeout: float = 20.0) -> None:
        """Stop the server in order, and by force after `timeout` seconds."""
        if record := self.registry.find(self.role):
            self.registry.stop(record, timeout)

    @abstractmethod
    def create_database(self, name: str) -> None:
        """Make a database and a user of the same name who owns it; harmless when both exist."""

    @abstractmethod
    def drop_database(self, name: str) -> None:
        """Remove a database, its connections and its user."""

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of a database made by `create_database`, password included."""
        password = quote(self._password(name))
        query = f"?{self._query()}" if self.certificate else ""
        return f"{self._dialect()}://{name}:{password}@{self.address}:{self.port}/{name}{query}"

    def _password(self, name: str) -> str:
        return secret_file(self.directory / f"{name}.password")

    def _prepare(self, password: str) -> None:
        shutil.rmtree(self.cluster, ignore_errors=True)
        self.cluster.mkdir(mode=0o700, parents=True)
        secret = self.cluster / "administrator"
        write_private(secret, password)
        for path in (self.cluster, secret):
            self._give(path)
        made = subprocess.run(
            self._as_user(self._initialiser()),
            capture_output=True,
            text=True,
            cwd="/",
            timeout=PREPARE_SECONDS,
            check=False,
        )
        secret.unlink()
        if made.returncode != 0:
            raise DatabaseFailed(f"{self.role} cannot make its data directory:\n{made.stderr}")
        (self.cluster / "prepared").touch()

    def _take_certificate(self) -> None:
        """Copy it to where the server's own user can read it."""
        for name in CERTIFICATE_FILES if self.certificate else ():
            target = self.cluster / name
            write_private(target, (self._ca.with_name(name)).read_text())
            self._give(target)

    @property
    def _ca(self) -> Path:
        assert self.certificate is not None
        return self.certificate / "cacert.pem"

    def _give(self, path: Path) -> None:
        if self.root:
            user = self._user()
            os.chown(path, user.pw_uid, user.pw_gid)

    def _user(self) -> pwd.struct_passwd:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        return next(known[name] for name in self.users if name in known)

    def _as_user(self, command: Sequence[str]) -> list[str]:
        if not self.root:
            return list(command)
        user = self._user()
        identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        bind = ["unshare", "--mount", "sh", "-c", BIND_AND_RUN, "sh", str(self.cluster), str(BOUND)]
        return [*bind, "setpriv", *identity, "--no-new-privs", *command]

    @abstractmethod
    def _initialiser(self) -> list[str]: ...

    @abstractmethod
    def _server(self) -> list[str]: ...

    @abstractmethod
    def _dialect(self) -> str: ...

    @abstractmethod
    def _query(self) -> str:
        """What a URL says so that the server is verified."""

    @abstractmethod
    def _answers(self) -> bool: ...


class Postgres(Server):
    """A private PostgreSQL: TCP only, scram passwords, fsync on."""

    role = "postgres"
    users = ("postgres",)
    stop_signal = "SIGINT"  # SIGTERM would wait for the clients to go

    def create_database(self, name: str) -> None:
        role, password = sql.Identifier(name), sql.Literal(self._password(name))
        with self._connect() as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if found.fetchone():
                return
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))

    def drop_database(self, name: str) -> None:
        role = sql.Identifier(name)
        with self._connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(role))
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host=self.address,
            port=self.port,
            user=ADMINISTRATOR,
            password=secret_file(self.directory / "administrator.password"),
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
            **(
                {"sslmode": "verify-full", "sslrootcert": str(self._ca)} if self.certificate else {}
            ),
        )

    def _program(self, name: str) -> str:
        versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return str(versions[-1]) if versions else name

    def _initialiser(self) -> list[str]:
        return [
            self._program("initdb"),
            f"--pgdata={self.home / 'data'}",
            f"--username={ADMINISTRATOR}",
            f"--pwfile={self.home / 'administrator'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]

    def _query(self) -> str:
        return f"sslmode=verify-full&sslrootcert={quote(str(self._ca), safe='')}"

    def _write_rules(self) -> None:
        """Let in whoever is near and knows a password, encrypted if there is a certificate."""
        kind = "hostssl" if self.certificate else "host"
        rules = self.cluster / "data" / "pg_hba.conf"
        write_private(rules, f"{kind} all all samenet scram-sha-256\n")
        self._give(rules)

    def _server(self) -> list[str]:
        settings = {
            "listen_addresses": self.address,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "on",
            "synchronous_commit": "on",
            "max_connections": 200,
        }
        if self.certificate:
            settings |= {
                "ssl": "on",
                "ssl_cert_file": self.home / "cert.pem",
                "ssl_key_file": self.home / "key.pem",
            }
        settings |= self.settings
        self._write_rules()
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [self._program("postgres"), "-D", str(self.home / "data"), *options]

    def _dialect(self) -> str:
        return "postgresql+psycopg"

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


class MariaDB(Server):
    """A private MariaDB with the same interface, for the tests."""

    role = "mariadb"
    users = ("mysql", "nobody")

    def create_database(self, name: str) -> None:
        user = f"{_quoted(name)}@'%%'"
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {_quoted(name)} CHARACTER SET utf8mb4")
            cursor.execute(
                f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY %s", [self._password(name)]
            )
            cursor.execute(f"GRANT ALL ON {_quoted(name)}.* TO {user}", [])

    def drop_database(self, name: str) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {_quoted(name)}")
            cursor.execute(f"DROP USER IF EXISTS {_quoted(name)}@'%'")

    def _connect(self) -> "pymysql.connections.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(
            host=self.address,
            port=self.port,
            user=ADMINISTRATOR,
            password=secret_file(self.directory / "administrator.password"),
            autocommit=True,
            connect_timeout=5,
            **({"ssl_ca": str(self._ca), "ssl_verify_identity": True} if self.certificate else {}),
        )

    def _query(self) -> str:
        return f"ssl_ca={quote(str(self._ca), safe='')}"

    def _initialiser(self) -> list[str]:
        return [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.home / 'data'}",
            f"--tmpdir={self.home}",  # the caller's TMPDIR may be closed to the server's user
            "--auth-root-authentication-method=socket",
            "--skip-test-db",
        ]

    def _server(self) -> list[str]:
        password = secret_file(self.directory / "administrator.password")
        first = self.cluster / "first.sql"
        write_private(
            first,
            f"CREATE OR REPLACE USER '{ADMINISTRATOR}'@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON *.* TO '{ADMINISTRATOR}'@'%' WITH GRANT OPTION;\n",
        )
        self._give(first)
        return [
            shutil.which("mariadbd", path="/usr/sbin:/usr/bin") or "mariadbd",
            "--no-defaults",
            f"--datadir={self.home / 'data'}",
            f"--tmpdir={self.home}",
            f"--init-file={self.home / 'first.sql'}",
            f"--bind-address={self.address}",
            f"--port={self.port}",
            "--socket=server.sock",
            f"--pid-file={self.home / 'server.pid'}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=1",
            *(f"--{name}={value}" for name, value in self.settings.items()),
            *self._encryption(),
        ]

    def _encryption(self) -> list[str]:
        if self.certificate is None:
            return []
        files = {"cert": "cert.pem", "key": "key.pem"}
        options = [f"--ssl-{option}={self.home / name}" for option, name in files.items()]
        return [*options, "--require-secure-transport=on", "--tls-version=TLSv1.2,TLSv1.3"]

    def _dialect(self) -> str:
        return "mysql+pymysql"

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except pymysql.OperationalError:
            return False
        (self.cluster / "first.sql").unlink(missing_ok=True)
        return True


KINDS: dict[str, type[Server]] = {"postgresql": Postgres, "mariadb": MariaDB}


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
