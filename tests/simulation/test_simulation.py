"""Thousands of ways in which things can go wrong; none may break a promise.

``PADDOCK_SEED`` replays one seed with its trace, ``PADDOCK_SCHEDULES`` runs so many from
``PADDOCK_FIRST_SEED``.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.plan import make
from tests.simulation.worker import (
    Story,
    broken,
    noticed,
    shrunk,
    smallest_without,
    traced,
    traced_plainly,
    traced_without,
)

SEED = os.environ.get("PADDOCK_SEED")
SCHEDULES = int(os.environ.get("PADDOCK_SCHEDULES", "10000"))
FIRST = int(os.environ.get("PADDOCK_FIRST_SEED", "0"))
BATCH = 20
"""So few, since at the end of each part processes wait for the last one."""
PART = 1000
LAST = FIRST + SCHEDULES
PARTS = [range(first, min(first + PART, LAST)) for first in range(FIRST, LAST, PART)]
SPAWN = multiprocessing.get_context("spawn")  # what a worker patches stays in it
SAMPLE = (1, 2, 3, 4, 5)
BROKEN = [one for one in MUTATIONS if one.name in ("late starts", "no bars", "judged in masses")]
"""Rules without which seeds fail, to see what becomes of such seeds."""


def tell(story: Story) -> str:
    """What a reader needs."""
    return "\n".join([*story.trace, story.wrong, f"replay it with PADDOCK_SEED={story.seed}"])


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(os.cpu_count(), SPAWN) as executor:
        yield executor


if SEED is not None:

    def test_the_seed_breaks_nothing(pool: ProcessPoolExecutor) -> None:
        story = pool.submit(shrunk, int(SEED or 0)).result()
        assert not story.wrong, tell(story)

else:

    @pytest.mark.timeout(1800)
    @pytest.mark.parametrize("part", PARTS)
    def test_no_schedule_breaks_a_promise(pool: ProcessPoolExecutor, part: range) -> None:
        batches = [(first, min(BATCH, part.stop - first)) for first in part[::BATCH]]
        found = pool.map(broken, *zip(*batches, strict=True))
        stories = [story for story in found if story is not None]
        assert not stories, tell(pool.submit(shrunk, stories[0].seed).result())

    def test_a_seed_replays_exactly(pool: ProcessPoolExecutor) -> None:
        once, again = (list(pool.map(traced, SAMPLE)) for _ in range(2))
        assert all(story.trace for story in once)
        assert once == again

    @pytest.mark.parametrize("mutation", BROKEN, ids=lambda mutation: mutation.name)
    def test_a_seed_that_fails_replays_exactly(
        pool: ProcessPoolExecutor, mutation: Mutation
    ) -> None:
        name, seed = mutation.name, mutation.seed
        once, again = (pool.submit(traced_without, name, seed).result() for _ in range(2))
        assert once.wrong and once.trace
        assert once == again

    @pytest.mark.parametrize("mutation", BROKEN, ids=lambda mutation: mutation.name)
    def test_a_plan_that_fails_becomes_smaller_and_fails_still(
        pool: ProcessPoolExecutor, mutation: Mutation
    ) -> None:
        plan, story = pool.submit(smallest_without, mutation.name, mutation.seed).result()
        assert story.wrong
        assert len(plan.items) < len(make(mutation.seed).items)

    def test_statements_made_lightly_do_what_sqlalchemy_s_do(pool: ProcessPoolExecutor) -> None:
        with ProcessPoolExecutor(1, SPAWN) as another:
            plainly = another.submit(traced_plainly, SAMPLE)
            assert list(pool.map(traced, SAMPLE)) == plainly.result()

    @pytest.mark.parametrize(
        "mutation",
        MUTATIONS,
        ids=lambda mutation: mutation.name.replace(" ", "-"),
    )
    def test_a_schedule_notices_that_a_rule_is_missing(
        pool: ProcessPoolExecutor, mutation: Mutation
    ) -> None:
        assert pool.submit(noticed, mutation.name, mutation.seed).result()
        assert not pool.submit(traced, mutation.seed).result().wrong
