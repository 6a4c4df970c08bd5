"""Clocks that are wrong."""

from __future__ import annotations

import datetime
import os
import sys
import time
from pathlib import Path

from devstack.processes import wait_until
from tests.faults.cloud import START_SECONDS
from tests.faults.fault import AGENTS, OfProcess

SKEW = Path(__file__).with_name("skew")
HOUR = 3600


class ClockOff(OfProcess):
    """An agent whose clocks are an hour off: monotonic and since boot ahead, wall either way."""

    subjects = AGENTS
    usual = 20.0

    def _hit(self) -> None:
        registry = self.cloud.registry
        skew = self.chance.choice([-HOUR, HOUR])
        self.detail = f"{skew} s"
        offsets = ["--monotonic", str(HOUR), "--boottime", str(HOUR)]
        registry.wraps[self.subject] = ["unshare", "--time", *offsets, "--"]
        registry.environments[self.subject] = {
            "PYTHONPATH": os.pathsep.join([str(SKEW), *sys.path[:1]]),
            "PADDOCK_CLOCK_SKEW": str(skew),
        }
        self._restart()
        self._check(skew)

    def heal(self) -> None:
        self.cloud.registry.wraps.pop(self.subject)
        self.cloud.registry.environments.pop(self.subject)
        self._restart()
        super().heal()

    def _restart(self) -> None:
        with self.cloud.keepers[self.subject].held():
            if record := self.cloud.process(self.subject):
                self.cloud.registry.stop(record, 30.0)

    def _check(self, skew: int) -> None:
        """Wait until the agent works by these clocks.

        :raises RuntimeError: it has others
        """
        self.cloud.await_running(self.subject)
        record = self.cloud.process(self.subject)
        log = self.cloud.registry.logs / f"{self.subject}.log"
        if record is None or not wait_until(lambda: _is_off(log, skew), START_SECONDS):
            raise RuntimeError(f"{self.subject} does not say that its clock is off")
        if _space(record.pid) == _space(os.getpid()):
            raise RuntimeError(f"{self.subject} has everybody's monotonic clock")


def _is_off(log: Path, skew: int) -> bool:
    """Whether the newest line's time is so many seconds from ours."""
    last = log.read_text(errors="replace").rstrip().rpartition("\n")[2]
    try:
        said = datetime.datetime.fromisoformat(last.split(" ")[0])
    except ValueError:
        return False
    return abs(said.timestamp() - time.time() - skew) < HOUR / 2


def _space(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/time").readlink())
