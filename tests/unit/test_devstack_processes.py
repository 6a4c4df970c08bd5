"""The registry of a stack's processes, on real processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.processes import STARTING, Registry, is_running, stat_fields, wait_until
from devstack.teardown import GRACE_SECONDS, take_down
from paddock import service

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
    assert registry.stop(record, timeout=0.2)
    assert registry.marked() == []


def test_of_several_processes_those_are_named_that_had_to_be_killed(
    registry: Registry, tmp_path: Path
) -> None:
    deaf = tmp_path / "deaf"
    records = [
        registry.spawn("api", ["sleep", "60"]),
        registry.spawn("compute", [*STUBBORN, str(deaf)], host="h1"),
    ]
    assert wait_until(deaf.exists, 5)
    assert registry.stop_all(records, timeout=0.5) == ["compute-h1"]
    assert (registry.records(), registry.marked()) == ([], [])


def test_down_ends_a_process_that_stands_still(registry: Registry) -> None:
    record = registry.spawn("libvirtd", ["sleep", "60"], host="h1")
    os.kill(record.pid, signal.SIGSTOP)
    assert wait_until(lambda: (stat_fields(record.pid) or "?")[0] == "T", 5)
    take_down(registry.run.parent)
    assert (registry.records(), registry.marked()) == ([], [])


def test_down_waits_longer_than_a_service_may_take_to_stop() -> None:
    assert GRACE_SECONDS > service.STOP_SECONDS + service.EXIT_SECONDS


def test_a_start_forgets_what_ended_before(registry: Registry) -> None:
    former = registry.spawn("embedded", ["true"])
    assert wait_until(lambda: not registry.alive(former), 5)
    running = registry.spawn("api", ["sleep", "60"])
    with registry.enrolled(STARTING):
        assert {record.name for record in registry.records()} == {running.name, STARTING}


def test_down_ends_what_a_killed_start_was_running(registry: Registry) -> None:
    with registry.enrolled(STARTING):
        helper = subprocess.Popen(["sleep", "60"])
        record = registry.spawn("api", ["sleep", "60"])
    assert registry.marked("PADDOCK_STACK_HELPER") == [helper.pid]
    registry.stop_helpers()
    assert helper.wait(5) == -signal.SIGTERM
    assert registry.alive(record)


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
