"""What goes wrong: how each call to a hypervisor and each transaction ends, by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from paddock.errors import HypervisorError
from tests.simulation.machines import Machine
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.traps import Trap, Traps

QUICK = frozenset({"facts", "found", "seen", "connect", "define", "arrive"})
HUNG_SECONDS = 25.0
HUNG_BOOT = 14.0
LONGEST_BOOT = 1.5
"""Seconds: less than what lies between the end of a lease and a verdict."""


@dataclass
class Rates:
    """How likely each mishap is.

    :ivar slow: the longest that a hypervisor's call takes, seconds
    """

    slow: float = 0.3
    fail_before: float = 0.0
    fail_after: float = 0.0
    hang: float = 0.0
    commit_unknown: float = 0.0
    commit_undone: float = 0.0
    commit_repeat: float = 0.0
    check: float = 0.03


class Trouble:
    """All mishaps but the bus's.

    :ivar on: whether anything may go wrong
    :ivar clock_jump: seconds by which the database's clock was set
    :ivar no_bus, no_database: places that are cut off
    :ivar on_commit: called after some commits
    """

    def __init__(
        self, scheduler: Scheduler, source: random.Random, cut: set[str], traps: Traps
    ) -> None:
        self._traps = traps
        self._late_strikes: dict[tuple[str, str], str] = {}
        self._scheduler = scheduler
        self._random = source
        self.rates = Rates()
        self.clock_jump = 0.0
        self.no_bus = cut
        self.no_database: set[str] = set()
        self.hung: set[str] = set()
        self.on_commit: Callable[[], None] = lambda: None

    def heal(self) -> None:
        """Nothing goes wrong from now on."""
        self.rates = Rates(slow=0.1, check=self.rates.check)
        self.no_database.clear()
        self.hung.clear()
        self._traps.clear()
        self._late_strikes.clear()

    def before(self, machine: Machine, method: str) -> tuple[float, bool]:
        """How a hypervisor's call begins: the seconds that it takes, and whether it fails."""
        if (trap := self._traps.spring(method, machine.name)) is not None:
            return self._spring(machine, method, trap)
        rates = self.rates
        seconds = self._random.random() * (0.02 if method in QUICK else rates.slow)
        if method == "facts":
            return (HUNG_SECONDS if machine.name in self.hung else seconds), False
        fate = self._random.random()
        if fate < rates.hang or machine.name in self.hung:
            return HUNG_SECONDS, False
        return seconds, fate > 1 - rates.fail_before and method != "connect"

    def after(self, machine: Machine, method: str) -> None:
        """A call has had its effect, and may fail to say so."""
        rates = self.rates
        if self._late_strikes and (fate := self._late_strikes.pop((machine.name, method), "")):
            if fate == "crash after":
                self._traps.strike("crash", machine.name)
                self._scheduler.leave_if_dead()
            raise HypervisorError(f"The hypervisor failed after {method}.")
        if rates.fail_after and method != "found" and self._random.random() < rates.fail_after:
            raise HypervisorError(f"The hypervisor failed after {method}.")
        self._scheduler.may_give_way()

    def _spring(self, machine: Machine, method: str, trap: Trap) -> tuple[float, bool]:
        fate, seconds = trap.fate, trap.seconds
        if fate in ("fail after", "crash after"):
            self._late_strikes[machine.name, method] = fate
            return 0.05, False
        if fate in ("crash", "power", "cut", "freeze", "wish", "delete"):
            delay = self._random.random() * 0.5
            self._scheduler.after(delay, lambda: self._traps.strike(fate, machine.name))
            return (seconds if fate in ("cut", "wish", "delete") else 0.6), False
        if fate == "hang":
            seconds = HUNG_SECONDS
        return (0.05, True) if fate == "fail before" else (seconds, False)

    def booting(self, machine: Machine) -> float:
        """Seconds until a guest runs after its hypervisor was told so; more is a hang."""
        if (trap := self._traps.spring("boot", machine.name)) is not None:
            if trap.fate == "hang":
                return HUNG_BOOT
            return min(self._spring(machine, "boot", trap)[0], LONGEST_BOOT)
        return self._random.random() * min(self.rates.slow, LONGEST_BOOT)

    def sending(self) -> float:
        """Seconds that a phase of handing a guest over takes."""
        return self._random.random() * min(self.rates.slow, LONGEST_BOOT)

    def shutting_down(self, wait: float) -> float:
        """Seconds that a guest takes to shut down when it is asked."""
        return self._random.random() * wait if self.rates.slow > 0.2 else 0.0

    def reaches(self, machine: Machine, other: Machine) -> bool:
        """Whether a disk can be read there from here."""
        return other.powered and not self.no_bus & {machine.name, other.name}

    def commit(self) -> str:
        """How a transaction ends: empty for well."""
        rates = self.rates
        fate = self._random.random()
        for name in ("unknown", "undone", "repeat"):
            chance = getattr(rates, f"commit_{name}")
            if fate < chance:
                return name
            fate -= chance
        return ""

    def committed(self) -> None:
        """A transaction has ended well."""
        if self._random.random() < self.rates.check:
            self.on_commit()

    def is_database_cut(self, process: Process) -> bool:
        """Whether a conductor cannot reach the database."""
        return process.place in self.no_database
