"""What stack.sh and test.sh do before there is a virtual environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.cmd import parse
from devstack.launch import purpose
from devstack.place import CHECKOUT
from devstack.processes import STARTING, Registry


def launch(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as on a machine that has the standard library alone, and no way to install more."""
    environment = {"PADDOCK_DIRECTORY": str(directory), "PATH": "/nowhere"}
    return subprocess.run(
        [sys.executable, "-S", "-m", "devstack.launch", *arguments],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path)
    yield registry
    for record in registry.records():
        registry.stop(record)


def test_status_and_down_of_nothing_need_nothing(tmp_path: Path) -> None:
    status = launch(tmp_path, "status")
    assert (status.returncode, status.stderr) == (1, "")
    assert "No process of this stack was started" in status.stdout
    assert launch(tmp_path, "status", "--json").stdout.startswith("{")
    down = launch(tmp_path, "down")
    assert (down.returncode, down.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["multihost", "--hosts", "1"], "must be 2 to 30, not '1'"),
        (["multihost", "--hosts", "31"], "must be 2 to 30, not '31'"),
        (["down", "--prune"], "unrecognized arguments: --prune"),
        (["test", "units"], "there is no test ring units, only unit, simulation"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_the_usage(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    done = launch(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("running", "command"), [("embedded", "multihost"), ("api", "embedded"), ("api", "up")]
)
def test_a_profile_beside_another_is_refused_before_anything_is_installed(
    registry: Registry, running: str, command: str
) -> None:
    registry.spawn(running, ["/bin/sleep", "60"])
    done = launch(registry.run.parent, command)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cloud of this checkout is running; ./devstack/stack.sh down ends it" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_start_beside_another_start_is_refused(registry: Registry) -> None:
    with registry.enrolled(STARTING):
        done = launch(registry.run.parent, "up")
    assert done.returncode == 1
    assert f"process {os.getpid()} is starting this checkout's cloud" in done.stderr


def test_settings_are_looked_at_before_anything_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PADDOCK_HYPERVISOR", "")
    assert purpose(parse([])) == "embedded"
    monkeypatch.setenv("PADDOCK_HYPERVISOR", "fake")
    assert purpose(parse(["up"])) == ""
    assert purpose(parse(["multihost"])) == "multihost"
    needs = {"": "tests", "unit": "unit", "functional": "", "unit faults": "tests"}
    for rings, need in needs.items():
        assert purpose(parse(["test", *rings.split()])) == need


def test_the_process_that_starts_a_cloud_is_known_while_it_does(registry: Registry) -> None:
    with registry.enrolled(STARTING):
        record = registry.find(STARTING)
        assert record is not None
        assert record.pid == os.getpid()
        with subprocess.Popen(["/bin/sleep", "60"]) as child:
            assert child.pid in registry.marked()
            child.kill()
    assert registry.records() == []
