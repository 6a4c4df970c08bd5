"""Rounds of faults: what they deal, what they count, and how a run of them ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.cloud import FaultCloud
from tests.faults.history import History
from tests.faults.pace import Pace
from tests.faults.rounds import Rounds
from tests.faults.run import main
from tests.faults.table import Deck, faults
from tests.faults.test_faults import ROUNDS, SEED


def test_the_rounds_of_the_ring_have_every_kind_of_fault(tmp_path: Path) -> None:
    deck = Deck(FaultCloud(tmp_path, "fake", 0, Pace(quick=True)), SEED)
    dealt = {type(fault) for _ in range(ROUNDS) for fault in deck.deal()}
    assert [kind.__name__ for kind in faults("fake") if kind not in dealt] == []


class Told(Rounds):
    """Rounds without a cloud: they find what they are told to.

    :param ends: of each round its violations, or an error that ends it after one
    """

    def __init__(self, history: History, ends: Sequence[list[str] | Exception]) -> None:
        self.history = history
        self._ends = ends

    def run(self, number: int) -> list[str]:
        end = self._ends[number - 1]
        if isinstance(end, Exception):
            raise end
        self.history.rounds.append({"number": number, "violations": end})
        return end


def exit_status(tmp_path: Path, *ends: list[str] | Exception, options: str = "") -> int:
    """How a run ends whose rounds end like this; no round is told twice."""

    @contextmanager
    def opener(*_: object, history: History, **__: object) -> Iterator[Rounds]:
        yield Told(history, ends)

    arguments = ["--dir", str(tmp_path), "--rounds", str(len(ends)), *options.split()]
    return main(arguments, opener)


LOST, AWAY = ["something was lost"], RuntimeError("the cloud is away")


def test_a_run_exits_0_when_all_held(tmp_path: Path) -> None:
    assert exit_status(tmp_path, [], []) == 0


def test_a_run_exits_1_on_a_violation_and_ends_with_it(tmp_path: Path) -> None:
    assert exit_status(tmp_path, [], LOST) == 1
    assert exit_status(tmp_path, LOST, AWAY) == 1


def test_a_run_exits_2_when_it_could_not_run(tmp_path: Path) -> None:
    assert exit_status(tmp_path, AWAY) == 2
    assert exit_status(tmp_path, [], AWAY) == 2
    with pytest.raises(SystemExit) as ended:
        main(["--rounds", "1"])
    assert ended.value.code == 2


def test_an_error_hides_no_violation_that_was_found_before(tmp_path: Path) -> None:
    assert exit_status(tmp_path, LOST, [], AWAY, options="--keep-going") == 1
    assert exit_status(tmp_path, LOST, [], options="--keep-going") == 1


def test_the_faults_are_listed_without_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    said = "".join(capsys.readouterr())
    assert all(f"{kind.__name__}: " in said for kind in faults("libvirt"))
