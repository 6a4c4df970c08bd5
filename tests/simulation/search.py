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
        scene_of(ground, plan := make(seed))
        with mutation.applied():
            wrong = play(ground, plan).wrong
        if wrong:
            return f"{seed}: {wrong}"
    return f"none of {MOST} seeds notices"


def main(names: list[str]) -> None:
    """Search for the mutations named, or for all that have no seed."""
    gc.disable()
    with workshop() as ground:
        for mutation in MUTATIONS:
            if mutation.name in names or (not names and mutation.seed is None):
                sys.stdout.write(f"{mutation.name}: {find(ground, mutation)}\n")
                sys.stdout.flush()
                gc.collect()


if __name__ == "__main__":
    main(sys.argv[1:])
