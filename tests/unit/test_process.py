"""Each role as a process says in one sentence why it cannot start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
