"""How long faults last and how patient the cloud is: as by default, or quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paddock.actions import ACTIONS

DEADLINE = 60
QUICK_DEADLINE = 20


@dataclass(frozen=True)
class Pace:
    """Times of a run.

    :ivar quick: durations and the cloud's own times are shortened
    """

    quick: bool

    def seconds(self, usual: float) -> float:
        """How long something lasts that usually takes so many seconds."""
        return max(usual / 10, 0.5) if self.quick else usual

    @property
    def deadline(self) -> int:
        """Seconds that a step has."""
        return QUICK_DEADLINE if self.quick else DEADLINE

    @property
    def settle_seconds(self) -> float:
        """Within which all must be well again once the last fault is healed."""
        return 60.0

    def control_options(self) -> dict[str, dict[str, Any]]:
        """Options of the conductors and the API."""
        deadlines = ",".join(f"{verb}:{self.deadline}" for verb in ACTIONS)
        conductor: dict[str, Any] = {"deadlines": deadlines}
        if not self.quick:
            return {"conductor": conductor}
        conductor |= {
            "heartbeat_interval": 1, "dead_after": 4, "reaper_interval": 0.5, "hint_again": 1,
            "ping_interval": 3,
        }  # fmt: skip
        return {
            "DEFAULT": {"call_timeout": 3},
            "conductor": conductor,
            "database": {"timeout": 2},
        }

    def agent_options(self) -> dict[str, Any]:
        """Options of the agents' group ``compute``."""
        if not self.quick:
            return {"shutdown_wait": 10}
        return {
            "heartbeat_interval": 1, "lease": 3, "observe_interval": 3, "shutdown_wait": 3,
        }  # fmt: skip
