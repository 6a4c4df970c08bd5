"""What the stack's commands read and print, without a stack."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devstack import packages, venv
from devstack.api import Api, ApiFailed
from devstack.cloud_user import GuestLine, Server, describe_step, read_guest_line
from devstack.clouds import write_clouds
from devstack.cmd import parse
from devstack.place import CHECKOUT
from devstack.rings import plan
from devstack.say import last_line, step
from devstack.status import age_seconds, collect
from devstack.teardown import guests, take_down

LINE = "PADDOCK-GUEST mark={} boots=2 mac=52:54:00:00:00:01 ip=10.99.0.40 counter=7\r\n"
SERVER = {
    "id": "1", "name": "demo", "status": "SHUTOFF",
    "OS-EXT-STS:power_state": 10, "OS-EXT-STS:task_state": None,
    "OS-EXT-SRV-ATTR:host": None, "OS-EXT-AZ:availability_zone": "az1",
    "addresses": {"net": [{"addr": "10.99.0.40", "OS-EXT-IPS-MAC:mac_addr": "52:54:00:00:00:01"}]},
}  # fmt: skip


def test_the_newest_whole_line_of_the_console_counts() -> None:
    console = f"noise\n{LINE.format('old')}{LINE.format('new')}PADDOCK-GUEST mark=cut boo"
    assert read_guest_line(console) == GuestLine("new", 2, "52:54:00:00:00:01", "10.99.0.40")
    assert read_guest_line("SeaBIOS") is None


def test_a_server_without_host_or_fault_can_be_shown() -> None:
    server = Server.read(SERVER)
    assert (server.host, server.ip, server.fault) == (None, "10.99.0.40", "")


def test_progress_says_how_much_of_a_disk_has_moved() -> None:
    moving = {"kind": "fetch", "host": "h3", "status": "running", "done": 25, "total": 50}
    assert describe_step(moving) == "fetch on h3 running 50 %"
    assert describe_step({**moving, "total": 0}) == "fetch on h3 running"


def test_no_command_means_embedded() -> None:
    assert parse([]).command == "embedded"
    assert parse(["multihost", "--hosts", "4"]).hosts == 4


def test_functional_tests_run_under_both_backends() -> None:
    runs = [(run.ring, run.backend) for run in plan([]) if run.ring == "functional"]
    assert runs == [("functional", "eventlet"), ("functional", "threading")]
    assert [run.ring for run in plan(["unit"])] == ["unit"]


@pytest.mark.parametrize(("ci", "status"), [("1", 1), ("", 0)])
def test_in_ci_what_is_skipped_has_failed(tmp_path: Path, ci: str, status: int) -> None:
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it(): pytest.skip('why')\n")
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "tests.conftest", "-c", "/dev/null"]
    done = subprocess.run(
        [*command, str(tmp_path)], env={**os.environ, "PADDOCK_CI": ci},
        cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    assert "why" in done.stdout


def test_a_moment_without_a_zone_is_utc() -> None:
    now = datetime(2026, 1, 1, 12, 0, 10, tzinfo=UTC)
    assert age_seconds("2026-01-01T12:00:00", now) == 10.0
    assert age_seconds("2026-01-01T12:00:00+00:00", now) == 10.0
    assert age_seconds(None, now) is None


def test_missing_packages_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    query = tmp_path / "dpkg-query"
    query.write_text("#!/bin/sh\necho 'aa installed'; echo 'bb not-installed'; exit 1\n")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert packages.missing(["aa", "bb", "cc"]) == ["bb", "cc"]


def test_an_installation_that_cannot_be_says_why_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.CannotInstall, match=r"not a Debian machine.*missing: aa bb"):
        packages.install(["aa", "bb"])


def test_a_step_says_that_it_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError), step("Starting"):
        raise OSError
    assert capsys.readouterr().out.startswith("- Starting: failed after 0.")


def test_the_last_line_of_a_log_is_shown_cut_off(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_text("one\n" + "x" * 90 + "\n\n")
    assert last_line(log) == "x" * 70


def test_status_and_down_work_where_nothing_was_ever_started(tmp_path: Path) -> None:
    directory = tmp_path / ".paddock"
    found = collect(directory)
    assert found == {"processes": [], "hosts": [], "api": "there is no stack here yet"}
    take_down(directory)
    take_down(directory, purge=True)


def test_a_pid_file_that_names_somebody_elses_process_ends_nobody(tmp_path: Path) -> None:
    (tmp_path / "guest.pid").write_text(str(os.getpid()))
    (tmp_path / "broken.pid").write_text("no number")
    assert guests(tmp_path) == []


def test_an_interrupted_environment_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(venv, "VENV", tmp_path / "venv")
    monkeypatch.setattr(venv, "UNFINISHED", tmp_path / "venv" / "unfinished")
    monkeypatch.setattr(venv, "STAMP", tmp_path / "venv" / "stamp")
    asked: list[str] = []

    def run(command: list[str], _log: Path) -> None:
        asked.append(command[2])
        (tmp_path / "venv" / "bin").mkdir(exist_ok=True)
        (tmp_path / "venv" / "bin" / "python").touch()
        if len(asked) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(venv, "_run", run)
    with pytest.raises(KeyboardInterrupt):
        venv.prepare("")
    venv.prepare("")
    assert asked == ["venv", "venv", "pip"]
    assert not (tmp_path / "venv" / "unfinished").exists()


def test_a_strangers_answer_is_no_page_of_html(tmp_path: Path) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(501, "no")

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        write_clouds(tmp_path / "clouds.yaml", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(ApiFailed, match=r"/x gave 501$"):
            Api(tmp_path / "clouds.yaml", "paddock-demo").get("/x")
        server.shutdown()


def test_python_packages_are_known_by_their_names() -> None:
    names = venv._requirements(["test", "libvirt"])
    assert {"oslo.messaging", "psycopg[binary]", "pytest", "types-requests"} < set(names)
    assert not any(set(name) & set("<>= ") for name in names)
