"""Makes the last section of ``docs/simulation.md`` from ``tests/simulation/mutations.py``."""

from __future__ import annotations

from pathlib import Path

from docs.tables import table
from tests.simulation.mutations import MUTATIONS

PAGE = Path(__file__).with_suffix(".md")
SECTION = "## Table of mutations\n"
TEXT = """\
This section is made by `.venv/bin/python -m docs` from `tests/simulation/mutations.py`.

{killed}"""


def render() -> str:
    """The page: what is written there by hand, and the table."""
    head = PAGE.read_text().partition(SECTION)[0]
    killed = [[one.name, one.rule, str(one.seed)] for one in MUTATIONS]
    return (
        head
        + SECTION
        + TEXT.format(killed=table(["mutation", "the rule that it breaks", "seed"], killed))
    )
