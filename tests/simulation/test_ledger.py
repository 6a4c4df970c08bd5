"""Hundreds of ways in which things can go wrong; none may break the ledger.

``PADDOCK_SEED`` replays one seed, ``PADDOCK_SCHEDULES`` runs so many from ``PADDOCK_FIRST_SEED``.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.fixtures.ledger import Clock, Ledger
from tests.simulation.schedule import SIMULATED, Schedule

SEED = os.environ.get("PADDOCK_SEED")
SCHEDULES = 1 if SEED else int(os.environ.get("PADDOCK_SCHEDULES", "500"))
FIRST = int(SEED or os.environ.get("PADDOCK_FIRST_SEED", "0"))
STEPS = range(30, 91)
BATCH = 25
PART = 125
LAST = FIRST + SCHEDULES
PARTS = [range(first, min(first + PART, LAST)) for first in range(FIRST, LAST, PART)]


def broken(first: int, count: int) -> str | None:
    """Run the schedules of some seeds; what broke in the first that did, with its trace."""
    logging.disable()  # verdicts and alarms are what these schedules are made of
    gc.disable()  # there is little garbage in cycles, and looking for it takes a fifth of the time
    ledger = Ledger("sqlite://", clock=Clock(), **SIMULATED)  # its statements compile only once
    try:
        for seed in range(first, first + count):
            ledger.renew(seed)
            if story := tell(Schedule(ledger, seed), seed):
                return story
        return None
    finally:
        ledger.close()


def tell(schedule: Schedule, seed: int) -> str | None:
    """Run a schedule; its trace and what is wrong, None when all is well."""
    try:
        schedule.run(STEPS[seed % len(STEPS)])
    except Exception as error:
        return "\n".join([*schedule.trace, repr(error), f"replay it with PADDOCK_SEED={seed}"])
    return None


@pytest.mark.parametrize("part", PARTS)
def test_no_schedule_breaks_the_ledger(part: range) -> None:
    batches = [(first, min(BATCH, part.stop - first)) for first in part[::BATCH]]
    spawn = multiprocessing.get_context("spawn")  # threads of other tests do not survive a fork
    with ProcessPoolExecutor(os.cpu_count(), spawn) as pool:
        stories = list(pool.map(broken, *zip(*batches, strict=True)))
    found = [story for story in stories if story]
    assert not found, found[0]
