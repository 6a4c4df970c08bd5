"""Rounds of faults: what they deal, what they count, and how a run of them ends."""

from __future__ import annotations

from pathlib import Path

from tests.faults.cloud import FaultCloud
from tests.faults.pace import Pace
from tests.faults.table import Deck, faults
from tests.faults.test_faults import ROUNDS, SEED


def test_the_rounds_of_the_ring_have_every_kind_of_fault(tmp_path: Path) -> None:
    deck = Deck(FaultCloud(tmp_path, "fake", 0, Pace(quick=True)), SEED)
    dealt = {type(fault) for _ in range(ROUNDS) for fault in deck.deal()}
    assert [kind.__name__ for kind in faults("fake") if kind not in dealt] == []
