"""What a run of the benchmark says, and when two runs differ."""

from __future__ import annotations

import pytest

from bench.compare import compare, compare_runs
from bench.figures import Figures


def figures(**values: list[float]) -> Figures:
    """``pause`` in ms, ``floor_one`` for its floor, ``rate_at8``, ``floor_at8``, ``statements``."""
    names = {
        "pause": ("pause", "ms"),
        "floor_one": ("floor.one", "ms"),
        "rate_at8": ("pause.at8", "/s"),
        "floor_at8": ("floor.at8", "/s"),
        "statements": ("statements of pause", ""),
    }
    made = Figures()
    for key, rounds in values.items():
        for value in rounds:
            made.add(*names[key], value)
    return made


def changes(before: Figures, after: Figures) -> dict[str, bool]:
    return {change.name: change.worse for change in compare(before, after)}


def test_a_figure_is_the_median_of_its_rounds_with_the_lowest_and_highest() -> None:
    document = figures(pause=[30, 10, 20]).document()["pause"]
    assert (document["median"], document["low"], document["high"]) == (20, 10, 30)


def test_figures_survive_being_stored() -> None:
    before = figures(pause=[30, 10, 20], statements=[12])
    assert Figures.read(before.document()).document() == before.document()


def test_a_ratio_is_taken_round_by_round() -> None:
    """When the machine is slow in one round, it is so for the cloud and for the floor."""
    ratio = figures(pause=[30, 60, 90], floor_one=[15, 30, 45]).ratio("pause")
    assert ratio is not None
    assert (ratio.median, ratio.spread) == (2, 0)


def test_a_ratio_of_unlike_rounds_is_to_the_floors_median() -> None:
    ratio = figures(pause=[30, 60], floor_one=[10, 15, 20]).ratio("pause")
    assert ratio is not None
    assert ratio.values == [2, 4]


def test_a_count_needs_no_floor_and_a_time_does() -> None:
    found = figures(statements=[12], pause=[30])
    ratio = found.ratio("statements of pause")
    assert ratio is not None
    assert ratio.median == 12
    assert found.ratio("pause") is None


def test_the_floor_is_compared_with_nothing() -> None:
    assert changes(figures(floor_one=[10]), figures(floor_one=[99])) == {}


@pytest.mark.parametrize(("pause", "worse"), [(45, True), (31, False), (10, False)])
def test_slower_than_the_spread_allows_is_worse(pause: float, worse: bool) -> None:
    before = figures(pause=[30, 30, 32], floor_one=[10, 10, 10])
    after = figures(pause=[pause] * 3, floor_one=[10, 10, 10])
    assert changes(before, after) == {"pause": worse}


@pytest.mark.parametrize(("rate", "worse"), [(50, True), (95, False), (200, False)])
def test_a_lower_rate_is_worse(rate: float, worse: bool) -> None:
    before = figures(rate_at8=[100] * 3, floor_at8=[100] * 3)
    assert changes(before, figures(rate_at8=[rate] * 3, floor_at8=[100] * 3)) == {
        "pause.at8": worse
    }


def test_a_slower_machine_is_not_worse() -> None:
    before = figures(pause=[30] * 3, floor_one=[10], rate_at8=[100] * 3, floor_at8=[100])
    after = figures(pause=[90] * 3, floor_one=[30], rate_at8=[33] * 3, floor_at8=[33])
    assert not any(changes(before, after).values())


def test_a_wide_spread_forgives_more() -> None:
    before = figures(pause=[20, 30, 50], floor_one=[10, 10, 10])
    after = figures(pause=[40, 45, 50], floor_one=[10, 10, 10])
    assert changes(before, after) == {"pause": False}


def test_a_time_that_was_taken_once_is_not_judged_and_a_count_is() -> None:
    before = figures(pause=[30], floor_one=[10], statements=[12])
    after = figures(pause=[90], floor_one=[10], statements=[13])
    assert changes(before, after) == {"pause": False, "statements of pause": True}


def test_only_what_both_runs_have_is_compared() -> None:
    stored = {"parts": {"main": figures(statements=[12]).document()}}
    found = {"parts": {"main": figures(statements=[20], pause=[3]).document(), "mariadb": {}}}
    compared = compare_runs(stored, found)
    assert [change.name for change in compared["main"]] == ["statements of pause"]
    assert list(compared) == ["main"]
