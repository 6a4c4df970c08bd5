"""Figures: what was measured in each round, with median and spread, and how they are shown."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

HIGHER_IS_BETTER = ("/s",)
FLOOR_ONE, FLOOR_AT_8, FLOOR_AT_64, FLOOR_CPU = (
    "floor.one", "floor.at8", "floor.at64", "floor.cpu",
)  # fmt: skip
ALL = ", all"
SHOWN_CPU = ("cpu.pause", "cpu.heartbeat")


@dataclass
class Figure:
    """A value for each round.

    :ivar unit: ``ms``, ``s``, ``/s``, ``MiB``, or empty for a count
    """

    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle of all rounds."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """From the lowest to the highest round, in the figure's unit."""
        return max(self.values) - min(self.values)

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "unit": self.unit,
            "median": round(self.median, 3),
            "low": round(min(self.values), 3),
            "high": round(max(self.values), 3),
            "values": [round(value, 4) for value in self.values],
        }


class Figures:
    """The figures of one part of a run, by name."""

    def __init__(self) -> None:
        self.all: dict[str, Figure] = {}

    def add(self, name: str, unit: str, value: float) -> None:
        """Note what a round gave."""
        self.all.setdefault(name, Figure(unit)).values.append(value)

    def document(self) -> dict[str, Any]:
        """As JSON holds them."""
        return {name: figure.document() for name, figure in self.all.items()}

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Figures":
        """What :meth:`document` wrote."""
        made = cls()
        for name, one in document.items():
            made.all[name] = Figure(one["unit"], list(one["values"]))
        return made

    def ratio(self, name: str) -> Figure | None:
        """A figure by the floor's, round by round where both have as many.

        What is no time and no rate is the same on every machine, and is given as it is. None when
        the floor was not measured, and for the floor itself.
        """
        figure = self.all[name]
        if name.startswith("floor."):
            return None
        if figure.unit in ("MiB", ""):
            return figure
        floor = self.all.get(_floor_of(name, figure.unit))
        if floor is None:
            return None
        if len(floor.values) == len(figure.values):
            pairs: Iterable[tuple[float, float]] = zip(figure.values, floor.values, strict=True)
        else:
            pairs = ((value, floor.median) for value in figure.values)
        return Figure(figure.unit, [value / base for value, base in pairs])

    def lines(self) -> list[str]:
        """A table: name, median, spread and ratio to the floor.

        Of most actions it has the CPU time of all processes together, not of each.
        """
        rows = [("figure", "median", "lowest to highest", "by the floor")]
        for name, figure in self.all.items():
            if name.startswith("cpu.") and not name.startswith(SHOWN_CPU) and ALL not in name:
                continue
            ratio = self.ratio(name) if figure.unit in ("ms", "s", "/s") else None
            rows.append(
                (
                    name,
                    f"{figure.median:.1f} {figure.unit}".strip(),
                    f"{min(figure.values):.1f} to {max(figure.values):.1f}",
                    f"{ratio.median:.2f}" if ratio else "",
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]


def _floor_of(name: str, unit: str) -> str:
    if name.startswith("cpu."):
        return FLOOR_CPU
    if unit == "/s":
        return FLOOR_AT_64 if ".at64" in name else FLOOR_AT_8
    return FLOOR_ONE
