"""``python -m tests.simulation.search [NAME ...]``: finds seeds that notice mutations."""

from __future__ import annotations

import gc
import os
import sys

from tests.simulation.ground import Ground
from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.plan import make
from tests.simulation.scenes import scene_of
from tests.simulation.worker import play, workshop

MOST = int(os.environ.get("PADDOCK_SCHEDULES", "3000"))


def find(ground: Ground, mutation: Mutation) -> str:
    """The first seed that notices, and what it says."""
    for seed in range(MOST):
        if wrong := notices(ground, mutation, seed):
            return f"{seed}: {wrong}"
    return f"none of {MOST} seeds notices"


def notices(ground: Ground, mutation: Mutation, seed: int) -> str:
    """What a schedule says of the product without a rule, though nothing of the whole one."""
    scene_of(ground, plan := make(seed))
    with mutation.applied():
        wrong = play(ground, plan).wrong
    return wrong if wrong and not play(ground, plan).wrong else ""


def main(names: list[str]) -> None:
    """Search for the mutations named, or for all whose seed no longer notices."""
    gc.disable()
    with workshop() as ground:
        for mutation in MUTATIONS:
            if mutation.name in names or (
                not names and not notices(ground, mutation, mutation.seed)
            ):
                sys.stdout.write(f"{mutation.name}: {find(ground, mutation)}\n")
                sys.stdout.flush()
                gc.collect()


if __name__ == "__main__":
    main(sys.argv[1:])
