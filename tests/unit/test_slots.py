"""One worker per instance, and the bar of a deletion."""

from __future__ import annotations

from functools import partial

import pytest

from compute_agent.slots import Slots
from paddock.errors import LaunchBarred


@pytest.fixture
def slots() -> Slots[str]:
    return Slots()


def test_those_who_wait_get_the_slot_in_order(slots: Slots[str]) -> None:
    gone: list[str] = []
    for instance_id, owner in [("i", "first"), ("i", "second"), ("i", "third"), ("o", "fourth")]:
        slots.enter(instance_id, owner, partial(gone.append, owner))
    assert gone == ["first", "fourth"]
    slots.leave("i", "first")
    assert slots.owner("i") == "second"
    slots.leave("i", "second")
    slots.leave("i", "third")
    assert gone == ["first", "fourth", "second", "third"]
    assert slots.take("i", "fifth")


def test_only_the_owner_gives_it_up(slots: Slots[str]) -> None:
    slots.take("i", "first")
    assert not slots.take("i", "second")
    slots.leave("i", "second")
    assert slots.owner("i") == "first"


def test_a_bar_ends_with_the_deletion_when_nobody_works(slots: Slots[str]) -> None:
    with slots.barred("i") as owner:
        assert owner is None
        with pytest.raises(LaunchBarred):
            slots.may_launch("i")
        slots.may_launch("other")
    slots.may_launch("i")


def test_a_bar_outlives_the_deletion_until_the_worker_of_before_has_ended(
    slots: Slots[str],
) -> None:
    slots.take("i", "worker")
    with slots.barred("i") as owner:
        assert owner == "worker"
    assert slots.is_barred("i")
    slots.leave("i", "worker")
    assert not slots.is_barred("i")
