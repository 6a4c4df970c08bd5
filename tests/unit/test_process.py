"""A role as a process: why it cannot start, and what it sets aside when it does."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from paddock import process

MODULES = {"api": "api.cmd", "conductor": "conductor.cmd", "compute": "compute_agent.cmd"}

NONSENSE = "[DEFAULT]\ntransport_url = nonsense://x\n[database]\nconnection = sqlite://\n"


@pytest.mark.parametrize("role", MODULES)
@pytest.mark.parametrize(
    "text", [None, f"[api]\nworkers = 1\n{NONSENSE}", f"[api]\nworkers = 2\n{NONSENSE}"]
)
def test_a_role_that_cannot_start_says_why(tmp_path: Path, role: str, text: str | None) -> None:
    settings = tmp_path / "paddock.conf"
    if text:
        settings.write_text(text)
    command = [sys.executable, "-m", MODULES[role], "--config-file", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"paddock-{role} cannot start: "), done.stderr
    assert "Traceback" not in done.stderr


def test_modules_and_parts_are_not_looked_at_by_the_collector(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = tmp_path / "paddock.conf"
    settings.write_text("[DEFAULT]\n")
    monkeypatch.setattr(sys, "argv", ["paddock", "--config-file", str(settings)])
    monkeypatch.setattr(process.logs, "set_up", lambda *_: None)
    part = [[]]
    found: list[bool] = []

    def go() -> int:
        found.append(any(one is part for one in gc.get_objects()))
        return 3

    try:
        assert process.run_prepared("api", lambda _: go) == 3
    finally:
        gc.unfreeze()
    assert found == [False]
    assert any(one is part for one in gc.get_objects())


CHECKING = """
import sys, threading
import psutil
from conductor.passwords import Passwords
from paddock import process

def check() -> int:
    passwords, own = Passwords(), psutil.Process()
    before = own.memory_info().rss
    threads = [threading.Thread(target=passwords.verify, args=(None, "x")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print((own.memory_info().rss - before) >> 20)
    return 0

sys.exit(process.run_prepared("conductor", lambda _: check))
"""


def test_the_memory_that_checked_passwords_took_is_given_back(tmp_path: Path) -> None:
    settings = tmp_path / "paddock.conf"
    settings.write_text("[DEFAULT]\n")
    command = [sys.executable, "-c", CHECKING, "--config-file", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout.split()[-1]) < 19, done
