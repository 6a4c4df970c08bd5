"""Some rounds of faults on real parts, the same ones each time; the hosts have no guests.

``python -m tests.faults.run`` runs more of them, with other seeds, and with real guests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.rounds import Rounds
from tests.faults.run import open_rounds
from tests.fixtures.hosts import require_hosts

SEED = 120
"""With which every kind of fault happens that these hosts can have."""
ROUNDS = 20


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rounds]:
    """A cloud under load, and the faults that happen to it."""
    require_hosts()
    directory = tmp_path_factory.mktemp("faults")
    with open_rounds(directory, SEED, "fake", quick=True) as opened:
        yield opened


@pytest.mark.parametrize("number", range(1, ROUNDS + 1))
def test_nothing_accepted_is_lost_done_twice_or_stuck(rounds: Rounds, number: int) -> None:
    assert rounds.run(number) == []
