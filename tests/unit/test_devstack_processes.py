"""The registry of a stack's processes, on real processes."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.processes import Registry, is_running, wait_until

STUBBORN = ["sh", "-c", "trap '' TERM; touch $0; while :; do sleep 0.05; done"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path)
    yield registry
    for record in registry.records():
        registry.stop(record, timeout=0.1)
    registry.stop_strays()


def test_another_registry_finds_and_stops_what_was_started(registry: Registry) -> None:
    record = registry.spawn("api", ["sleep", "60"], host="h1")
    other = Registry(registry.run.parent)
    assert other.find("api-h1") == record
    other.stop(record)
    assert not is_running(record.pid)
    assert other.records() == []


def test_a_process_that_ignores_the_signal_is_killed_with_its_children(
    registry: Registry, tmp_path: Path
) -> None:
    deaf = tmp_path / "deaf"
    record = registry.spawn("compute", [*STUBBORN, str(deaf)])
    assert wait_until(deaf.exists, 5)
    registry.stop(record, timeout=0.2)
    assert registry.marked() == []


def test_a_stranger_that_got_the_pid_of_ours_is_left_alone(registry: Registry) -> None:
    ours = registry.spawn("api", ["sleep", "60"])
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        reused = dataclasses.replace(ours, pid=stranger.pid, started=ours.started - 1)
        assert not registry.alive(reused)
        assert not registry.alive(dataclasses.replace(reused, boot="another boot"))
        registry.stop(reused)
        assert is_running(stranger.pid)
        stranger.kill()


def test_a_process_without_a_record_is_found_by_its_mark(registry: Registry) -> None:
    record = registry.spawn("api", ["sleep", "60"])
    (registry.run / "api.json").unlink()
    assert registry.records() == []
    assert registry.marked() == [record.pid]
    registry.stop_strays()
    assert not is_running(record.pid)


def test_a_record_cut_off_in_the_middle_is_dropped(registry: Registry) -> None:
    registry.run.mkdir(parents=True)
    (registry.run / "api.json").write_text('{"name": "ap')
    assert registry.records() == []


def test_the_log_holds_what_the_process_said_and_is_private(registry: Registry) -> None:
    record = registry.spawn("api", ["echo", "hello"])
    assert wait_until(lambda: not registry.alive(record), 5)
    log = Path(record.log)
    assert log.read_text() == "hello\n"
    assert log.stat().st_mode & 0o777 == 0o600
