"""Secrets stay secret: a whole run is looked through for every password, token and key of it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from devstack.ports import free_ports
from devstack.processes import family
from paddock import config, logs
from paddock.token_keys import read_keys
from tests.fixtures.cloud import Client, Cloud, credentials, wait_for

TOKENS = "/identity/v3/auth/tokens"
NEW_PASSWORD = "a-password-given-by-hand"
WRONG_PASSWORD = "a-wrong-password-of-somebody"
GUEST_PASSWORD = "a-password-for-the-guest"
BROKER_PASSWORD = "the-password-of-the-broker"
DATABASE_PASSWORD = "the-password-of-the-database"
PRIVATE = {"clouds.yaml", "users.yaml", "token.key", "password"}
LARGEST_READ = 8 << 20
"""Bytes; guests' disks are larger."""
SECONDS = 30.0


class Run:
    """What was done, what was said about it, and what must not have been said."""

    def __init__(self, cloud: Cloud, log: Path) -> None:
        self.cloud = cloud
        self.log = log
        self.answers: list[str] = []
        self.commands: set[str] = set()
        self.secrets = {NEW_PASSWORD, WRONG_PASSWORD, GUEST_PASSWORD, "$argon2id$"}
        self.secrets |= {auth["password"] for auth in cloud.passwords.values()}
        self.secrets |= {key.secret.decode() for key in read_keys(cloud.place.token_key)}

    def ask(self, client: Client, method: str, path: str, json: Any = None, **more: Any) -> Any:
        """A request whose answer is looked at, too, but for the token in its header."""
        answer = client.call(method, path, json, **more)
        if token := answer.headers.get("X-Subject-Token"):
            self._keep(token)
        headers = {name: value for name, value in answer.headers.items()
                   if name.lower() != "x-subject-token"}  # fmt: skip
        self.answers.append(f"{headers}\n{answer.text}")
        return answer

    def _keep(self, token: str) -> None:
        self.secrets |= {token, token.rpartition(".")[2]}

    def sign_in(self, name: str) -> Client:
        """A signed-in client."""
        body = credentials(self.cloud.passwords[name])
        answer = self.ask(self.cloud.stranger(), "POST", TOKENS, body)
        return Client(self.cloud.parts.api.app, answer.headers["X-Subject-Token"])

    def manage(self, *arguments: str, said: str = "") -> str:
        """A command of its own process; gives what it said."""
        program = [sys.executable, "-m", "conductor.manage", "--config-file"]
        command = [*program, str(self.cloud.place.settings("manage")), *arguments]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            self.commands |= command_lines()
            out, _ = process.communicate(said.encode(), timeout=SECONDS)
        return out.decode()


def command_lines() -> set[str]:
    """What anybody on this machine sees of our processes."""
    found = set()
    for pid in family(os.getpid()):
        try:
            found.add(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has ended meanwhile
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A cloud in which everything was done, right and wrong."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.OWN}
    log = tmp_path_factory.mktemp("log") / "log"
    settings = {"log_file": str(log), "debug": True}
    logs.set_up(config.load(overrides={"DEFAULT": settings}), "cloud")
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    cloud.start()
    run = Run(cloud, log)
    try:
        do_everything(run)
        yield run
    finally:
        cloud.stop()
        for handler in root.handlers:
            handler.close()
        root.handlers[:], root.level = before
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        logging.captureWarnings(False)


def do_everything(run: Run) -> None:
    member, admin = run.sign_in("paddock-demo"), run.sign_in("paddock-admin")
    _do_right(run, member, admin)
    _do_wrong(run, member)
    _change_users(run)


def _do_right(run: Run, member: Client, admin: Client) -> None:
    image = run.ask(admin, "GET", "/image/v2/images").json["images"][0]["id"]
    wanted = {"name": "vm", "imageRef": image, "flavorRef": "42", "adminPass": GUEST_PASSWORD}
    made = member.post("servers", {"server": wanted})
    assert made.status_code == 202, made.text
    server_id = made.json["server"]["id"]
    member.await_state(server_id, "active")
    for path in (f"servers/{server_id}", f"servers/{server_id}/os-instance-actions"):
        run.ask(member, "GET", path)
    run.ask(member, "POST", f"servers/{server_id}/action", {"reboot": {"type": "HARD"}})
    member.await_state(server_id, "active")
    run.ask(admin, "GET", TOKENS, headers={"X-Subject-Token": str(member.token)})
    again = {"methods": ["token"], "token": {"id": member.token}}
    run.ask(run.cloud.stranger(), "POST", TOKENS, {"auth": {"identity": again}})
    run.ask(admin, "GET", "services")


def _do_wrong(run: Run, member: Client) -> None:
    stranger, auth = run.cloud.stranger(), run.cloud.passwords["paddock-demo"]
    right = auth["password"]
    for wrong in (
        {"password": WRONG_PASSWORD},
        {"name": WRONG_PASSWORD},
        {"password": [right]},
        {"password": {"is": right}},
        {"passwort": right},
        {"domain": right},
        {"domain": {"name": right}},
    ):
        run.ask(stranger, "POST", TOKENS, credentials(auth, **wrong))
    for body in (f'{{"auth": "{right}', f'"{right}"', f"password={right}", f"<a>{right}</a>"):
        for kind in ("application/json", "application/xml", "text/plain"):
            run.ask(stranger, "POST", TOKENS, body=body, headers={"Content-Type": kind})
    token = str(member.token)
    broken = Client(run.cloud.parts.api.app, token + "x")
    run.ask(broken, "GET", "servers")
    run.ask(broken, "POST", TOKENS, {"auth": {"identity": {"methods": ["token"],
            "token": {"id": token + "x"}}}})  # fmt: skip
    run.ask(stranger, "GET", f"servers?token={token}")
    for name in ("X-Subject-Token", "OpenStack-API-Version", "Idempotency-Key", "Host",
                 "X-Openstack-Request-Id", "Content-Type", "Accept"):  # fmt: skip
        run.ask(member, "GET", TOKENS, headers={name: token + "x"})
    wanted = {"name": "vm", "imageRef": "nowhere", "flavorRef": "42", "adminPass": GUEST_PASSWORD}
    run.ask(member, "POST", "servers", {"server": wanted})
    run.ask(member, "POST", "servers", {"server": wanted | {"adminPass": [GUEST_PASSWORD]}})
    run.ask(member, "POST", "servers", {"server": wanted | {"adminPass": GUEST_PASSWORD * 20}})


def _change_users(run: Run) -> None:
    secret = run.cloud.place.directory / "password"
    secret.touch(0o600)
    secret.write_text(NEW_PASSWORD)
    given = ["--password-file", str(secret)]
    for arguments in (
        ["user", "add", "eve", "--project", "demo", "--role", "member", *given],
        ["user", "password", "nobody", *given],
        ["user", "disable", "eve"],
        ["key", "list"],
        ["check", "--wait", "0"],
    ):
        run.answers.append(run.manage(*arguments))
    run.answers.append(run.manage("user", "password", "eve", "--password-file", "-",
                                  said=f"{NEW_PASSWORD}\n"))  # fmt: skip


def told(secrets: set[str], texts: list[str]) -> list[str]:
    return [f"{secret}: {text[:2000]}" for secret in secrets for text in texts if secret in text]


def test_no_log_has_a_secret(run: Run) -> None:
    lines = run.log.read_text().splitlines()
    assert any("Log-in of 'demo' from 127.0.0.1 refused" in line for line in lines)
    assert told(run.secrets, lines) == []


def test_no_answer_and_no_command_tells_a_secret(run: Run) -> None:
    assert len(run.answers) > 30
    assert told(run.secrets, run.answers) == []


def test_no_command_line_has_a_secret(run: Run) -> None:
    assert any("user password eve" in line for line in run.commands)
    assert told(run.secrets, list(run.commands)) == []


def test_what_holds_a_secret_is_its_owners_only(run: Run) -> None:
    found = [
        path
        for path in run.cloud.place.directory.rglob("*")
        if path.is_file() and path.stat().st_size < LARGEST_READ
    ]
    secrets = {secret.encode() for secret in run.secrets}
    holding = {path for path in found if any(secret in path.read_bytes() for secret in secrets)}
    names = {path.name for path in holding}
    assert names >= PRIVATE
    assert {name for name in names - PRIVATE if not name.startswith("paddock.db")} == set()
    assert [path for path in holding if path.stat().st_mode & 0o077] == []


def test_the_database_has_neither_passwords_nor_tokens(run: Run) -> None:
    secrets = {secret.encode() for secret in run.secrets - {"$argon2id$"}}
    dumps = [path.read_bytes() for path in run.cloud.place.directory.glob("paddock.db*")]
    assert any(b"$argon2id$" in dump for dump in dumps)
    assert [secret for secret in secrets for dump in dumps if secret in dump] == []


def test_what_a_process_keeps_for_itself_is_its_own(run: Run) -> None:
    place = run.cloud.place
    own = [path for path in place.directory.glob("state/*") if path.is_dir()]
    assert len(own) > 3
    for path in (*own, place.settings("manage"), *place.directory.glob("paddock.db*")):
        assert path.stat().st_mode & 0o077 == 0, path


def conductor_settings(root: Path, connection: str, broker: str) -> Path:
    path = root / "conductor.conf"
    path.touch(0o600)
    path.write_text(
        f"[DEFAULT]\nhost = c1\nstate_path = {root}\ndebug = true\ntransport_url = {broker}\n"
        f"[database]\nconnection = {connection}\ntimeout = 1\n"
        f"[identity]\nkey_file = {root}/token.key\n"
    )
    return path


@pytest.mark.parametrize("kind", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_database_that_does_not_answer_lets_no_password_be_told(
    tmp_path: Path, kind: str
) -> None:
    port = free_ports(1)
    where = f"{kind}://paddock:{DATABASE_PASSWORD}@127.0.0.1:{port}/paddock"
    broker = f"rabbit://c1:{BROKER_PASSWORD}@127.0.0.1:{port}/"
    settings = conductor_settings(tmp_path, where, broker)
    said = []
    for module, arguments in (
        ("conductor.cmd", []),
        ("conductor.manage", ["check"]),
        ("conductor.manage", ["db", "upgrade"]),
    ):
        command = [sys.executable, "-m", module, "--config-file", str(settings), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode != 0
        said += [done.stdout, done.stderr]
    assert any(text for text in said)
    assert told({DATABASE_PASSWORD, BROKER_PASSWORD}, said) == []


def test_a_broker_that_does_not_answer_lets_no_password_be_told(tmp_path: Path) -> None:
    port = free_ports(2)
    nowhere = port + 1
    broker = f"rabbit://api:{BROKER_PASSWORD}@127.0.0.1:{nowhere}/"
    settings = conductor_settings(tmp_path, "sqlite://", broker)
    with settings.open("a") as file:
        file.write(f"[api]\nport = {port}\n")
    command = [sys.executable, "-m", "api.cmd", "--config-file", str(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        answers: list[str] = []

        def ask() -> bool:
            try:
                answer = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=SECONDS)
            except requests.ConnectionError:
                return False
            answers.append(answer.text)
            return answer.status_code == 503

        try:
            wait_for(ask, "an answer", SECONDS)
            seen = command_lines()
        finally:
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=SECONDS)
    key = read_keys(tmp_path / "token.key")[0].secret.decode()
    assert any("api.cmd" in line for line in seen)
    assert told({BROKER_PASSWORD, key}, [out.decode(), *answers, *seen]) == []
