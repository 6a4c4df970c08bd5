"""Which process speaks for a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_agent.epoch import EpochFile, HostTaken


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "machine-id"
    path.write_text("abc\n")
    return path


def test_two_agents_never_share_a_state_directory(tmp_path: Path, machine: Path) -> None:
    first, second = EpochFile(tmp_path / "a", machine), EpochFile(tmp_path / "a", machine)
    first.start()
    assert first.machine_id == "abc"
    with pytest.raises(HostTaken):
        second.start()
    first.stop(1)
    second.start()
    second.stop(1)


def test_a_host_without_a_machine_id_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        EpochFile(tmp_path / "a", tmp_path / "none").start()


def test_an_epoch_whose_hello_may_have_counted_is_offered_too(
    tmp_path: Path, machine: Path
) -> None:
    epochs = EpochFile(tmp_path / "a", machine)
    epochs.start()
    assert epochs.predecessors() == [None]
    epochs.attempt("one")
    epochs.accepted("one")
    assert epochs.predecessors() == ["one"]
    epochs.attempt("two")
    epochs.attempt("three")
    epochs.attempt("three")
    assert EpochFile(tmp_path / "a", machine).predecessors() == ["one", "three", "two"]
    epochs.accepted("three")
    assert epochs.predecessors() == ["three"]
    epochs.stop(1)


def test_starts_in_a_long_outage_do_not_make_the_next_one_longer(
    tmp_path: Path, machine: Path
) -> None:
    epochs = EpochFile(tmp_path / "a", machine)
    epochs.start()
    epochs.attempt("one")
    epochs.accepted("one")
    for number in range(100):
        epochs.attempt(f"try {number}")
    accepted, newest, *others = epochs.predecessors()
    assert (accepted, newest, len(others)) == ("one", "try 99", 7)
    epochs.stop(1)
