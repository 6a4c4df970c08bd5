"""Faults that wait for a message or for a hypervisor's call, and strike right there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

METHODS = {
    "start": 5, "finish": 5, "hand_back": 4, "heartbeat": 3, "hello": 3, "reconcile": 3,
    "reconciled": 3, "progress": 2, "report": 2, "accept": 2, "create": 1, "run": 2,
}  # fmt: skip
MESSAGE_FATES = {
    "late": 3, "again": 4, "crash late": 5, "reply lost": 2, "reply late": 2, "freeze": 2,
    "crash": 3, "unknown": 2, "echo": 2, "jump": 1,
}  # fmt: skip
CALLS = {
    "launch": 5, "define": 3, "boot": 2, "fetch": 3, "shut_down": 4, "destroy": 4, "release": 2,
    "found": 3, "seen": 1, "suspend": 1, "resume": 2, "pause": 1,
}  # fmt: skip
CALL_FATES = {
    "slow": 6, "hang": 3, "fail before": 2, "fail after": 2, "crash": 3, "crash after": 3,
    "power": 3, "cut": 4, "freeze": 3, "wish": 5, "delete": 2,
}  # fmt: skip


@dataclass
class Trap:
    """What strikes at the n-th message of a method, or at the n-th call to a driver.

    :ivar seconds: how late or slow it makes things
    :ivar times: how often it strikes from then on, always at the place where it struck first
    """

    method: str
    count: int
    fate: str
    seconds: float
    times: int = 1
    place: str = ""


class Traps:
    """Those that are armed.

    :ivar strike: lets something befall a place: ``crash``, ``freeze``, ``cut`` or ``power``; or
        the whole cloud: the clock's ``jump``, or a user's ``wish`` or ``delete``
    """

    def __init__(self) -> None:
        self._armed: list[Trap] = []
        self.strike: Callable[[str, str], None] = lambda _fate, _place: None

    def arm(self, source: random.Random, chosen: str = "") -> None:
        """Set one.

        :param chosen: ``method:fate:seconds``, of which any may be missing
        """
        methods, fates = (METHODS, MESSAGE_FATES) if source.random() < 0.5 else (CALLS, CALL_FATES)
        method, fate, given = (*chosen.split(":"), "", "", "")[:3]
        if method:
            methods, fates = (METHODS, MESSAGE_FATES) if method in METHODS else (CALLS, CALL_FATES)
        method = method or source.choices(list(methods), list(methods.values()))[0]
        fate = fate or source.choices(list(fates), list(fates.values()))[0]
        seconds = source.uniform(0.5, 4.9) if methods is METHODS else source.uniform(2.0, 18.0)
        seconds = float(given or seconds)
        count, times = 1 if chosen else source.choice([1, 1, 1, 2, 3]), 1
        if fate == "unknown" or (fate == "crash" and source.random() < 0.2):
            times = 5
        self._armed.append(Trap(method, count, fate, seconds, times))

    def lose(self, method: str, place: str, times: int) -> None:
        """Lose the next messages of a method that come from a place."""
        self._armed.append(Trap(method, 1, "lost", 0.0, times, place))

    def spring(self, method: str, place: str) -> Trap | None:
        """The trap that this message or call springs, if one does."""
        if not self._armed:
            return None
        for trap in self._armed:
            if trap.method == method and trap.place in ("", place):
                trap.count -= 1
                if trap.count <= 0:
                    trap.place = place
                    trap.times -= 1
                    if trap.times <= 0:
                        self._armed.remove(trap)
                    return trap
        return None

    def clear(self) -> None:
        """Take all away."""
        self._armed.clear()
