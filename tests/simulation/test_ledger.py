"""Hundreds of ways in which things can go wrong; none may break the ledger.

``PADDOCK_SEED`` replays one seed, ``PADDOCK_SCHEDULES`` runs so many from ``PADDOCK_FIRST_SEED``.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from tests.fixtures.ledger import Clock, Ledger
from tests.simulation.schedule import SIMULATED, Schedule

SCHEDULES = int(os.environ.get("PADDOCK_SCHEDULES", "500"))
FIRST = int(os.environ.get("PADDOCK_FIRST_SEED", "0"))
SEED = os.environ.get("PADDOCK_SEED")
STEPS = 80
BATCH = 25
FIRSTS = range(FIRST, FIRST + SCHEDULES, BATCH)


def broken(first: int, count: int) -> str | None:
    """Run the schedules of some seeds; what broke in the first that did, with its trace."""
    logging.disable()  # verdicts and alarms are what these schedules are made of
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
        schedule.run(STEPS)
    except Exception as error:
        return "\n".join([*schedule.trace, repr(error), f"replay it with PADDOCK_SEED={seed}"])
    return None


def test_no_schedule_breaks_the_ledger() -> None:
    batches = [(int(SEED), 1)] if SEED else [(first, BATCH) for first in FIRSTS]
    spawn = multiprocessing.get_context("spawn")  # threads of other tests do not survive a fork
    with ProcessPoolExecutor(os.cpu_count(), spawn) as pool:
        stories = list(pool.map(broken, *zip(*batches, strict=True)))
    found = [story for story in stories if story]
    assert not found, found[0]
