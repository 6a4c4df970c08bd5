"""``paddock drain``: an administrator empties a host of a cloud that is known by its API only."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import Result

from compute_agent.drivers.fake_control import Behaviour, FakeControl
from devstack.clouds import read_clouds, write_clouds
from devstack.cmd import main
from devstack.ports import free_ports
from tests.fixtures.cloud import Client, Cloud, wait_for

Create = Callable[..., Result]
Run = Callable[..., int]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud that answers on a port."""
    port = free_ports(1)
    made = Cloud(tmp_path_factory.mktemp("cloud"), port=port)
    write_clouds(made.place.clouds, f"http://127.0.0.1:{port}")
    made.start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def credentials(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the cloud's administrator, in the environment, and no others."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.place.clouds))
    monkeypatch.setenv("OS_CLOUD", "paddock-admin")


@pytest.fixture
def slow(cloud: Cloud) -> Iterator[FakeControl]:
    """The host to which disks go; they do so slowly."""
    control = FakeControl(cloud.place.state("h2") / "fake")
    control.set("fetch", Behaviour(delay=1.5))
    yield control
    control.clear()


@pytest.fixture
def web(create: Create, admin: Client) -> str:
    """A machine that runs on h1."""
    server_id = str(create(admin, host="h1", name="web").json["server"]["id"])
    admin.await_state(server_id, "active")
    return server_id


@pytest.fixture(autouse=True)
def undone(admin: Client) -> Iterator[None]:
    """No drain goes on and all hosts are open afterwards."""
    yield
    for verb in ("cancel", "restore"):
        for drain in admin.get("drains?host=h1").json["drains"]:
            if drain["status"] not in ("restored", "planned"):
                admin.post(f"drains/{drain['id']}/action", {verb: None})
                wait_for(lambda one=drain["id"]: has_ended(admin, one), "an end", 40.0)  # type: ignore[misc]


def has_ended(admin: Client, drain_id: str) -> bool:
    return admin.get(f"drains/{drain_id}").json["drain"]["finished_at"] is not None


def run(*words: str) -> int:
    return main(["drain", *words])


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command prints for programs."""
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_is_printed_and_nothing_begins(
    web: str, capsys: pytest.CaptureFixture[str], admin: Client
) -> None:
    before = admin.get("drains").json
    assert run("plan", "h1", "--max-parallel", "3") == 0
    said = capsys.readouterr().out
    assert "Host h1: 1 machine, at most 3 at once" in said
    (line,) = [line for line in said.splitlines() if web in line]
    assert line.split()[:4] == ["web", web, "cold", "h2"]
    assert admin.get("drains").json == before


def test_a_drain_is_started_followed_and_restored(
    web: str, capsys: pytest.CaptureFixture[str], admin: Client
) -> None:
    assert run("start", "h1", "--reason", "a disk", "--watch", "--interval", "0.1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "of host h1 (a disk): running; 1 " in lines[0]
    assert any(line.startswith("web moving to h2") for line in lines)
    assert any(line.startswith("web moved to h2 in ") for line in lines)
    assert lines[-1].endswith("completed; 1 moved")
    assert len(lines) == len(set(lines))
    drain_id = lines[0].split()[1]
    assert run("restore", drain_id) == 0
    assert run("watch", "h1", "--interval", "0.1") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("restored; 1 returned")
    assert admin.show(web)["OS-EXT-SRV-ATTR:host"] == "h1"


def test_drains_are_listed_and_shown(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    drain = told(capsys, "start", "h1", "--exclude", web)
    assert run("watch", drain["id"], "--interval", "0.1") == 0
    capsys.readouterr()
    assert run("list", "--host", "h1") == 0
    assert drain["id"] in capsys.readouterr().out
    assert told(capsys, "list", "--status", "completed")[0]["id"] == drain["id"]
    assert run("show", "h1") == 0
    assert "it is excluded" in capsys.readouterr().out
    assert told(capsys, "show", drain["id"])["machines"][0]["verdict"] == "left"


def test_a_drain_is_paused_resumed_cancelled_and_tried_again(
    web: str, slow: FakeControl, capsys: pytest.CaptureFixture[str], admin: Client
) -> None:
    run("start", "h1")
    capsys.readouterr()
    assert run("pause", "h1") == 0
    assert "paused; 1 " in capsys.readouterr().out
    assert told(capsys, "resume", "h1")["status"] == "running"
    assert told(capsys, "cancel", "h1")["status"] == "cancelling"
    run("watch", "h1", "--interval", "0.1")
    slow.clear()
    assert run("retry", "h1") == 0
    assert run("watch", "h1", "--interval", "0.1") == 0
    assert admin.show(web)["OS-EXT-SRV-ATTR:host"] == "h2"


def test_a_drain_that_leaves_machines_behind_fails_its_watcher(
    web: str, cloud: Cloud, slow: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    slow.set("fetch", Behaviour(fail="the disk is full"))
    assert run("start", "h1", "--watch", "--interval", "0.1") == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith("failed; 1 failed")


def test_programs_read_a_document_for_each_change(
    web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("start", "h1", "--watch", "--json", "--interval", "0.1") == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    machines = [one["machine"] for one in said if "machine" in one]
    assert machines[-1]["verdict"] == "moved"
    assert [one["drain"]["status"] for one in said if "drain" in one] == ["running", "completed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", str(uuid.UUID(int=5))], "could not be found"),
        (["watch", "h9"], "There is no drain of a host h9."),
        (["plan", "h9"], "Host h9 could not be found"),
        (["start", "h1", "--max-parallel", "0"], "max_parallel must be"),
        (["start", "h1", "--strategy", "fast"], "strategy must be"),
        (["start", "h1", "--deadline", "soon"], "deadline must be"),
        (["start", "h1", "--exclude", "web"], "exclude"),
        (["plan", "h1", "--os-cloud", "nowhere"], "nowhere"),
        (["plan", "h1", "--os-cloud", "paddock-demo"], "Policy doesn't allow"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert len(output.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [[], ["show"], ["plan"], ["fly"], ["watch", "h1", "--interval", "0"]]
)
def test_a_line_that_is_no_command_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        run(*words)
    assert refused.value.code == 2


def test_without_credentials_it_says_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "clouds.yaml"
    empty.write_text("clouds: {}\n")
    monkeypatch.delenv("OS_CLOUD")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(empty))
    assert run("list") == 1
    assert capsys.readouterr().err.startswith("There are no credentials: name a cloud")


def test_credentials_may_be_in_the_environment(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = read_clouds(cloud.place.clouds)["paddock-admin"]["auth"]
    monkeypatch.delenv("OS_CLOUD")
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE")
    for name, value in auth.items():
        monkeypatch.setenv(f"OS_{name.upper()}", value)
    assert isinstance(told(capsys, "list"), list)
    monkeypatch.setenv("OS_PASSWORD", "wrong")
    assert run("list") == 1
    assert capsys.readouterr().err == "The cloud refuses these credentials.\n"


def test_a_cloud_that_is_away_is_named(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    url = f"http://127.0.0.1:{free_ports(1)}"
    write_clouds(tmp_path / "clouds.yaml", url)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    assert run("list") == 1
    said = capsys.readouterr().err
    assert said.startswith("The cloud does not answer: ")
    assert url in said
    assert len(said.splitlines()) == 1


def spawn(*words: str, **more: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "devstack", "drain", *words]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], **more)


def test_an_interrupted_watcher_leaves_the_drain_running_and_says_so(
    web: str, slow: FakeControl, admin: Client
) -> None:
    watcher = spawn("start", "h1", "--watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout is not None
    first = watcher.stdout.readline().decode()
    drain_id = first.split()[1]
    watcher.send_signal(signal.SIGINT)
    _, said = watcher.communicate(timeout=20)
    assert watcher.returncode == 130
    assert said.decode().strip() == (
        f"The drain goes on; paddock drain watch {drain_id} follows it again."
    )
    wait_for(lambda: has_ended(admin, drain_id), "the drain's end", 40.0)
    assert admin.show(web)["OS-EXT-SRV-ATTR:host"] == "h2"


def test_a_terminal_shows_progress_in_place(web: str, slow: FakeControl) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160"}
    watcher = spawn("start", "h1", "--watch", stdout=theirs, env=environment)
    os.close(theirs)
    said = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    assert watcher.wait(20) == 0
    assert b"\x1b[1A" in said  # drawn over what was there
    assert "━".encode() in said
    assert said.decode().rsplit("completed; 1 moved", 1)[-1].count("moving") == 0


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side is closed
        return b""
