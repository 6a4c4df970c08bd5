"""Two runs compared by their ratios to their own floors."""

from dataclasses import dataclass
from typing import Any

from bench.figures import HIGHER_IS_BETTER, Figures

LEAST_SPREAD = 0.1
LEAST_SPREAD_OF_COUNTS = 0.04
"""No smaller difference counts as one, as a share of what is stored. What is counted depends less
on the machine."""
COUNTED = ("", "MiB")
LEAST_ROUNDS = 3
"""Of a time or a rate that was taken less often, no spread is known, so it is not judged."""


@dataclass(frozen=True)
class Change:
    """A figure of both runs, by the floor (counts and memory as they are).

    :ivar spread: how far the worse may be from the better without meaning anything
    """

    name: str
    before: float
    after: float
    spread: float
    higher_is_better: bool
    judged: bool = True

    @property
    def worse(self) -> bool:
        """Whether it got worse by more than its spread."""
        by = self.after - self.before
        return self.judged and (-by if self.higher_is_better else by) > self.spread

    def line(self) -> str:
        """As people read it."""
        mark = "WORSE" if self.worse else "" if self.judged else "too few rounds to judge"
        return (
            f"{self.name:40} {self.before:9.2f} -> {self.after:9.2f}  "
            f"spread {self.spread:8.2f}  {mark}".rstrip()
        )


def compare(before: Figures, after: Figures) -> list[Change]:
    """What both have. A ratio's spread is that of both runs together: either may have been the
    lucky one."""
    changes = []
    for name in after.all:
        old = before.ratio(name) if name in before.all else None
        new = after.ratio(name)
        if old is None or new is None:
            continue
        counted = new.unit in COUNTED
        judged = counted or min(len(old.values), len(new.values)) >= LEAST_ROUNDS
        least = LEAST_SPREAD_OF_COUNTS if counted else LEAST_SPREAD
        spread = max(old.spread + new.spread, least * old.median)
        higher = new.unit in HIGHER_IS_BETTER
        changes.append(Change(name, old.median, new.median, spread, higher, judged))
    return changes


def compare_runs(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Change]]:
    """The changes of each part that both documents of ``bench.run --json`` have."""
    return {
        part: compare(Figures.read(before["parts"][part]), Figures.read(figures))
        for part, figures in after["parts"].items()
        if part in before["parts"]
    }
