"""Clocks that are wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.faults.fault import AGENTS, OfProcess

SKEW = Path(__file__).with_name("skew")
HOUR = 3600


class ClockOff(OfProcess):
    """An agent whose clocks are an hour ahead of everybody's: monotonic, since boot, and wall."""

    subjects = AGENTS
    usual = 20.0

    def _hit(self) -> None:
        registry = self.cloud.registry
        offsets = ["--monotonic", str(HOUR), "--boottime", str(HOUR)]
        registry.wraps[self.subject] = ["unshare", "--time", *offsets, "--"]
        registry.environments[self.subject] = {
            "PYTHONPATH": os.pathsep.join([str(SKEW), *sys.path[:1]]),
            "PADDOCK_CLOCK_SKEW": str(HOUR),
        }
        self._restart()

    def heal(self) -> None:
        self.cloud.registry.wraps.pop(self.subject)
        self.cloud.registry.environments.pop(self.subject)
        self._restart()
        super().heal()

    def _restart(self) -> None:
        with self.cloud.keepers[self.subject].held():
            if record := self.cloud.process(self.subject):
                self.cloud.registry.stop(record, 30.0)
