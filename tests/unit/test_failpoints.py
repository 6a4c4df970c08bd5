"""Failpoints: off unless a test arms them, and then once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paddock import failpoints
from paddock.errors import ServiceUnavailable
from paddock.failpoints import Failpoints


def test_an_ordinary_process_passes_without_looking() -> None:
    assert failpoints.hit is failpoints.choose(None)
    failpoints.hit("anything")


def test_an_armed_point_fails_once(tmp_path: Path) -> None:
    (tmp_path / "runner.started").write_text("error")
    points = Failpoints(tmp_path)
    points.hit("runner.finished")
    with pytest.raises(ServiceUnavailable, match=r"runner\.started"):
        points.hit("runner.started")
    points.hit("runner.started")
    assert [path.name for path in tmp_path.iterdir()] == ["runner.started.hit"]


def test_an_armed_point_hangs_for_its_time(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("hang 0.2")
    begun = time.monotonic()
    Failpoints(tmp_path).hit("p")
    assert time.monotonic() - begun >= 0.2


def test_a_point_without_a_chance_never_happens(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("error 0.0")
    for _ in range(20):
        Failpoints(tmp_path).hit("p")
    assert (tmp_path / "p").exists()


def test_a_process_started_for_it_dies_at_its_point(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("crash 1.0")
    done = subprocess.run(
        [sys.executable, "-c", "from paddock import failpoints; failpoints.hit('p'); print('on')"],
        env={**os.environ, failpoints.VARIABLE: str(tmp_path)},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
