"""paddock-compute as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent_lab import eventually


@contextmanager
def process(root: Path, backend: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """An agent with nobody to talk to, and its log."""
    (root / "machine-id").write_text("abc\n")
    log = root / f"{time.monotonic_ns()}.log"
    settings = root / "paddock.conf"
    settings.write_text(
        f"[DEFAULT]\nhost = h1\nstate_path = {root}/state\ntransport_url = paddock://alone/\n"
        f"call_timeout = 0.5\nlog_file = {log}\n"
        f"[compute]\ndriver = fake\nmachine_id_file = {root}/machine-id\n"
        f"image_store = {root}/images\n"
    )
    command = [sys.executable, "-m", "compute_agent.cmd", "--config-file", str(settings)]
    agent = subprocess.Popen(command, env={"PADDOCK_CONCURRENCY": backend, "PATH": "/usr/bin:/bin"})
    try:
        yield agent, log
    finally:
        agent.kill()
        agent.wait(10)


def runs(log: Path) -> bool:
    return log.exists() and "is running" in log.read_text()


@pytest.mark.parametrize("backend", ["threading", "eventlet"])
def test_sigterm_ends_an_agent_in_order_though_nobody_answers(tmp_path: Path, backend: str) -> None:
    with process(tmp_path, backend) as (agent, log):
        eventually(lambda: runs(log), "the start", 30)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(10) == 0
        assert "agent of h1 has stopped" in log.read_text()


def test_a_second_agent_of_the_same_host_does_not_start(tmp_path: Path) -> None:
    with process(tmp_path, "threading") as (_first, log):
        eventually(lambda: runs(log), "the start", 30)
        with process(tmp_path, "threading") as (second, complaint):
            assert second.wait(30) == 1
            assert "Another agent runs" in complaint.read_text()


def test_an_agent_that_must_end_ends_in_order_though_it_is_told_so_again() -> None:
    script = """
        import sys, time
        from compute_agent.cmd import Ending
        from paddock.service import Closing, Service, Timer, run_until_signal
        ending = Timer(Ending(), 0.2, "stale", at_once=False)
        def work_off():
            time.sleep(1.0)
            print("worked off", flush=True)
        sys.exit(run_until_signal(Service("s", [ending, Closing(work_off)])))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "worked off\n"), done.stderr
