"""Runs the test rings, each by pytest, the functional one under both concurrency backends."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from devstack import packages
from devstack.place import CHECKOUT
from devstack.say import say

RINGS = ("unit", "simulation", "functional", "integration", "faults")
LONG = "long"
LONG_RUN = {"PADDOCK_REQUESTS": "20000", "PADDOCK_SCHEDULES": "1000000"}
LONG_TESTS = ("functional/test_hostile_input.py", "simulation")
"""The long ring is random requests and the simulation, with many more of both: hours."""
ROOTS = ("integration", "faults")
"""Rings with namespaces and real servers."""
MEANWHILE = {
    "functional (eventlet)": ("functional (threading)",),
    "integration (clouds)": ("integration (not clouds)", "faults"),
}
"""Title → titles of what runs meanwhile, one after the other, and is shown after it: none of them
keeps a core busy. Not by pytest-xdist, whose workers an interruption kills before they clean up."""
BACKENDS = ("eventlet", "threading")
MARKS = ("clouds", "not clouds")
SIDE_BY_SIDE = ("unit",)
"""Rings whose tests share nothing, so that several may run at once."""
CI = "PADDOCK_CI"


@dataclass(frozen=True)
class Run:
    """One call of pytest: the ring's directory, the concurrency backend, and which marks."""

    ring: str
    backend: str = "threading"
    marks: str = ""

    @property
    def title(self) -> str:
        """What is printed above it."""
        which = self.backend if self.ring == "functional" else self.marks
        return f"{self.ring} ({which})" if which else self.ring


def plan(rings: Sequence[str]) -> list[Run]:
    """The calls of pytest for the rings named, all but `long` when none is."""
    runs = []
    for ring in rings or RINGS:
        backends = BACKENDS if ring == "functional" else BACKENDS[-1:]
        marks = MARKS if ring == "integration" else ("",)
        runs += [Run(ring, backend, mark) for backend in backends for mark in marks]
    return runs


def run_rings(rings: Sequence[str]) -> int:
    """Run the rings; 0 when all passed. What cannot run is skipped loudly, and fails in CI."""
    outcomes = []
    runs = {run.title: run for run in plan(rings)}
    while runs:
        run = runs.pop(next(iter(runs)))
        others = [runs.pop(title) for title in MEANWHILE.get(run.title, ()) if title in runs]
        outcomes += _run_with(run, others) if not _obstacle(run) else map(_run_one, [run, *others])
    return max(outcomes, default=0)


def _run_with(run: Run, others: Sequence[Run]) -> list[int]:
    """Run one, and the others in their order at the same time."""
    with ThreadPoolExecutor(1) as lane:
        futures = [lane.submit(_capture, other) for other in others]
        try:
            outcomes = [_run_one(run)]
            for other, future in zip(others, futures, strict=True):
                outcome, output = future.result()
                say(f"\n=== {other.title} ===")
                sys.stdout.write(output)
                sys.stdout.flush()
                outcomes.append(outcome)
        finally:
            lane.shutdown(wait=False, cancel_futures=True)
    return outcomes


def _capture(run: Run) -> tuple[int, str]:
    with tempfile.TemporaryFile() as output, _start(run, output) as process:
        outcome = process.wait()
        output.seek(0)
        return outcome, output.read().decode(errors="replace")


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
    places = LONG_TESTS if run.ring == LONG else (run.ring,)
    paths = [str(CHECKOUT / "tests" / place) for place in places]
    marks = ["-m", run.marks] if run.marks else []
    command = [sys.executable, "-m", "pytest", *workers, *marks, *paths]
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
