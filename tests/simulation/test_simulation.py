"""Thousands of ways in which things can go wrong; none may break a promise.

``PADDOCK_SEED`` replays one seed with its trace, ``PADDOCK_SCHEDULES`` runs so many from
``PADDOCK_FIRST_SEED``.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.worker import Story, broken, traced

SEED = os.environ.get("PADDOCK_SEED")
SCHEDULES = 1 if SEED else int(os.environ.get("PADDOCK_SCHEDULES", "300"))
FIRST = int(SEED or os.environ.get("PADDOCK_FIRST_SEED", "0"))
BATCH = 100
PART = 1000
LAST = FIRST + SCHEDULES
PARTS = [range(first, min(first + PART, LAST)) for first in range(FIRST, LAST, PART)]
SPAWN = multiprocessing.get_context("spawn")  # what a worker patches stays in it


def tell(story: Story) -> str:
    """What a reader needs."""
    return "\n".join([*story.trace, story.wrong, f"replay it with PADDOCK_SEED={story.seed}"])


@pytest.fixture(scope="module")
def pool() -> ProcessPoolExecutor:
    with ProcessPoolExecutor(os.cpu_count(), SPAWN) as executor:
        yield executor


@pytest.mark.skipif(SEED is None, reason="no seed is to be replayed")
def test_the_seed_breaks_nothing(pool: ProcessPoolExecutor) -> None:
    story = pool.submit(traced, int(SEED or 0)).result()
    assert not story.wrong, tell(story)


@pytest.mark.skipif(SEED is not None, reason="one seed is replayed")
@pytest.mark.parametrize("part", PARTS)
def test_no_schedule_breaks_a_promise(pool: ProcessPoolExecutor, part: range) -> None:
    batches = [(first, min(BATCH, part.stop - first)) for first in part[::BATCH]]
    stories = [story for found in pool.map(broken, *zip(*batches, strict=True)) for story in found]
    assert not stories, tell(pool.submit(traced, stories[0].seed).result())


def test_a_seed_replays_exactly(pool: ProcessPoolExecutor) -> None:
    for seed in (FIRST, FIRST + 1, FIRST + 2):
        once, again = (pool.submit(traced, seed).result() for _ in range(2))
        assert once.trace
        assert once.trace == again.trace
