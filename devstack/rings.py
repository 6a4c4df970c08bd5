"""Runs the test rings, each by pytest, the functional one under both concurrency backends."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

from devstack import packages
from devstack.place import CHECKOUT
from devstack.say import say

RINGS = ("unit", "simulation", "functional", "integration", "faults")
LONG = "long"
LONG_RUN = {"PADDOCK_SCHEDULES": "1000000"}
"""The long ring is the simulation with many more schedules: hours."""
ROOTS = ("integration", "faults")
"""Rings with namespaces and real servers."""
BESIDE = {"functional (eventlet)": "functional (threading)", "integration": "faults"}
"""Title → title of what runs meanwhile, and is shown after it: none of them keeps a core busy."""
BACKENDS = ("eventlet", "threading")
SIDE_BY_SIDE = ("unit",)
"""Rings whose tests share nothing, so that several may run at once."""
CI = "PADDOCK_CI"


@dataclass(frozen=True)
class Run:
    """One call of pytest: the ring's directory and the concurrency backend."""

    ring: str
    backend: str = "threading"

    @property
    def title(self) -> str:
        """What is printed above it."""
        return f"{self.ring} ({self.backend})" if self.ring == "functional" else self.ring


def plan(rings: Sequence[str]) -> list[Run]:
    """The calls of pytest for the rings named, all but `long` when none is."""
    runs = []
    for ring in rings or RINGS:
        backends = BACKENDS if ring == "functional" else BACKENDS[-1:]
        runs += [Run(ring, backend) for backend in backends]
    return runs


def run_rings(rings: Sequence[str]) -> int:
    """Run the rings; 0 when all passed. What cannot run is skipped loudly, and fails in CI."""
    outcomes = []
    runs = {run.title: run for run in plan(rings)}
    while runs:
        run = runs.pop(next(iter(runs)))
        beside = runs.pop(BESIDE.get(run.title, ""), None)
        outcomes.append(_run_both(run, beside) if beside else _run_one(run))
    return max(outcomes, default=0)


def _run_both(run: Run, beside: Run) -> int:
    with ExitStack() as stack:
        output = stack.enter_context(tempfile.TemporaryFile())
        if _obstacle(beside):
            return max(_run_one(run), _run_one(beside))
        other = stack.enter_context(_start(beside, output))
        first = _run_one(run)
        say(f"\n=== {beside.title} ===")
        second = other.wait()
        output.seek(0)
        sys.stdout.write(output.read().decode(errors="replace"))
        sys.stdout.flush()
    return max(first, second)


def _run_one(run: Run) -> int:
    if reason := _obstacle(run):
        say(f"\n!!! The {run.ring} ring is SKIPPED: {reason} !!!\n")
        return 1 if os.environ.get(CI) else 0
    say(f"\n=== {run.title} ===")
    with _start(run) as process:
        return process.wait()


def _start(run: Run, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PADDOCK_CONCURRENCY": run.backend}
    if run.ring == LONG:
        environment = {**LONG_RUN, **environment}
    workers = ["--numprocesses", "auto"] if run.ring in SIDE_BY_SIDE else []
    directory = CHECKOUT / "tests" / ("simulation" if run.ring == LONG else run.ring)
    command = [sys.executable, "-m", "pytest", *workers, str(directory)]
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=output, stderr=output and subprocess.STDOUT
    )


def _obstacle(run: Run) -> str:
    """Why a ring with namespaces and real guests cannot run here; empty when it can."""
    if run.ring not in ROOTS:
        return ""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    if absent := packages.missing(packages.needed("tests")):
        return f"Debian packages are missing: {' '.join(absent)}"
    return ""
