"""Runs the test rings, each by pytest, the functional one under both concurrency backends."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from devstack import packages
from devstack.place import CHECKOUT
from devstack.say import say

RINGS = ("unit", "simulation", "functional", "integration")
LONG = "long"
LONG_RUN = {"PADDOCK_SCHEDULES": "1000000"}
"""The long ring is the simulation with two hundred times as many schedules: hours."""
DIRECTORIES = {LONG: ("simulation",), "integration": ("integration", "faults")}
"""Below `tests`, where other than the ring's name."""
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
    outcomes = [_run_one(run) for run in plan(rings)]
    return max(outcomes, default=0)


def _run_one(run: Run) -> int:
    if run.ring == "integration" and (reason := _obstacle()):
        say(f"\n!!! The {run.ring} ring is SKIPPED: {reason} !!!\n")
        return 1 if os.environ.get(CI) else 0
    say(f"\n=== {run.title} ===")
    environment = {**os.environ, "PADDOCK_CONCURRENCY": run.backend}
    if run.ring == LONG:
        environment = {**LONG_RUN, **environment}
    workers = ["--numprocesses", "auto"] if run.ring in SIDE_BY_SIDE else []
    command = [sys.executable, "-m", "pytest", *workers, *_directories(run.ring)]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode


def _directories(ring: str) -> list[str]:
    names = DIRECTORIES.get(ring, (ring,))
    return [str(CHECKOUT / "tests" / name) for name in names]


def _obstacle() -> str:
    """Why tests with namespaces and real guests cannot run here; empty when they can."""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    if absent := packages.missing(packages.needed("tests")):
        return f"Debian packages are missing: {' '.join(absent)}"
    return ""
