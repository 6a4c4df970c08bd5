"""Thousands of ways in which things can go wrong; none may break the ledger.

``PADDOCK_SEED`` replays one seed, ``PADDOCK_SCHEDULES`` runs so many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.fixtures.ledger import Clock, Ledger
from tests.simulation.schedule import SIMULATED, Schedule

SCHEDULES = int(os.environ.get("PADDOCK_SCHEDULES", "500"))
SEED = os.environ.get("PADDOCK_SEED")
STEPS = 120
BATCHES = 10


@pytest.fixture(scope="module")
def ledger() -> Iterator[Ledger]:
    """One for all schedules: its statements are compiled only once."""
    ledger = Ledger("sqlite://", clock=Clock(), **SIMULATED)
    yield ledger
    ledger.close()


def run(ledger: Ledger, seed: int) -> None:
    """Run the schedule of a seed; its trace is shown when something breaks."""
    ledger.renew(seed)
    schedule = Schedule(ledger, seed)
    try:
        schedule.run(STEPS)
    except Exception as error:
        said = [*schedule.trace, repr(error), f"replay it with PADDOCK_SEED={seed}"]
        pytest.fail("\n".join(said), pytrace=SEED is not None)


@pytest.mark.parametrize("batch", range(1 if SEED else BATCHES))
def test_the_ledger_holds_in_every_schedule(ledger: Ledger, batch: int) -> None:
    share = SCHEDULES // BATCHES
    for seed in [int(SEED)] if SEED else range(batch * share, (batch + 1) * share):
        run(ledger, seed)
