"""Packing: all machines of a drained host find places, where there are places for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conductor.packing import Load, Place, pack
from conductor.routing import Candidate, Wish, objection, route

NAMES = ("a", "b", "c", "d")
UNEASY = (4, 4, 3, 3, 3, 3)
"""Machines that fill two hosts of 10 only if each takes a large one: no simple order sees it."""


def host(name: str, memory: float = 100, **values: Any) -> Candidate:
    fields: dict[str, Any] = {
        "zone": "az1", "up": True, "disabled": False, "paused": False,
        "capabilities": frozenset({"move"}), "free_vcpus": 100, "free_memory_mb": memory,
        "free_disk_gb": 100,
    }  # fmt: skip
    return Candidate(name=name, **(fields | values))


def load(name: str, memory: int = 1, **values: Any) -> Load:
    fields: dict[str, Any] = {"vcpus": 1, "memory_mb": memory, "disk_gb": 1}
    return Load(name, Wish(**(fields | values)))


def hosts_of(places: Iterable[Place]) -> dict[str, str | None]:
    return {place.id: place.host for place in places}


def give(wish: Wish, name: str, hosts: Sequence[Candidate]) -> list[Candidate] | None:
    """The hosts when one has taken the machine; None where it cannot."""
    taker = next(host for host in hosts if host.name == name)
    if objection(wish, taker) is not None:
        return None
    rest = dataclasses.replace(
        taker,
        free_vcpus=taker.free_vcpus - wish.vcpus * wish.runs,
        free_memory_mb=taker.free_memory_mb - wish.memory_mb * wish.runs,
        free_disk_gb=taker.free_disk_gb - wish.disk_gb * (name != wish.disk_host),
    )
    return [rest if host is taker else host for host in hosts]


def place(
    loads: Sequence[Load], names: Sequence[str | None], hosts: Sequence[Candidate]
) -> list[Candidate] | None:
    """The hosts when all loads are on those named; None where one is overfilled."""
    left: list[Candidate] | None = list(hosts)
    for each, name in zip(loads, names, strict=True):
        if name is not None and left is not None:
            left = give(each.wish, name, left)
    return left


def most(loads: Sequence[Load], hosts: Sequence[Candidate]) -> int:
    """How many of the loads can have a place, by trying everything."""
    if not loads:
        return 0
    found = most(loads[1:], hosts)
    for each in hosts:
        left = give(loads[0].wish, each.name, hosts)
        if left is not None and found < len(loads):
            found = max(found, 1 + most(loads[1:], left))
    return found


def best_fit(loads: Sequence[Load], hosts: Sequence[Candidate]) -> int:
    """How many loads have a place if each takes the fullest host that can have it, in turn."""
    placed, left = 0, list(hosts)
    for each in loads:
        able = [host for host in left if objection(each.wish, host) is None]
        if able:
            tightest = min(able, key=lambda host: (host.free_memory_mb, host.name))
            left = give(each.wish, tightest.name, left) or left
            placed += 1
    return placed


def seldom(*values: Any, usually: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usually] * 9 * len(values) + list(values))


moves = seldom(frozenset(), usually=frozenset({"move"}))
candidates = st.lists(
    st.builds(
        Candidate, name=st.sampled_from(NAMES), zone=st.sampled_from(["az1", "az1", "az2"]),
        up=seldom(False, usually=True), disabled=seldom(True, usually=False),
        paused=seldom(True, usually=False), capabilities=moves,
        free_vcpus=seldom(-1, 3, usually=9), free_memory_mb=st.sampled_from([-1, 4, 7, 10, 10]),
        free_disk_gb=seldom(-1, 3, usually=9),
    ),
    max_size=len(NAMES), unique_by=lambda host: host.name,
)  # fmt: skip
wishes = st.builds(
    Wish, vcpus=st.integers(0, 4), memory_mb=st.integers(0, 7), disk_gb=st.integers(0, 4),
    zone=seldom("az1", "az2", usually=None), host=seldom(*NAMES, usually=None),
    disk_host=seldom(*NAMES, usually=None), disk_moves=seldom(False, usually=True),
    barred=seldom(frozenset("a"), frozenset("b"), usually=frozenset()), leaves=st.booleans(),
    runs=seldom(False, usually=True),
)  # fmt: skip
drained = st.lists(wishes, max_size=5).map(
    lambda wishes: [Load(str(number), wish) for number, wish in enumerate(wishes)]
)


@settings(max_examples=200, deadline=None)
@given(drained, candidates)
def test_as_many_have_a_place_as_trying_everything_finds(
    loads: list[Load], hosts: list[Candidate]
) -> None:
    places = pack(loads, hosts)
    assert sum(each.host is not None for each in places) == most(loads, hosts)


@settings(max_examples=200, deadline=None)
@given(drained, candidates, st.integers(0, 50))
def test_no_host_is_overfilled_and_each_load_without_one_says_why(
    loads: list[Load], hosts: list[Candidate], steps: int
) -> None:
    places = pack(loads, hosts, steps)
    assert [each.id for each in places] == [each.id for each in loads]
    left = place(loads, [each.host for each in places], hosts)
    assert left is not None
    for each, its in zip(loads, places, strict=True):
        found = route(each.wish, left)
        assert its.host is not None or not found.hosts
        assert its.reason == (None if its.host else found.why())


@settings(max_examples=200, deadline=None)
@given(drained, candidates, st.integers(0, 50))
def test_never_fewer_have_a_place_than_with_simple_best_fit(
    loads: list[Load], hosts: list[Candidate], steps: int
) -> None:
    placed = [each for each in pack(loads, hosts, steps) if each.host]
    assert len(placed) >= best_fit(loads, hosts)


@settings(max_examples=50, deadline=None)
@given(drained, candidates)
def test_the_plan_is_the_same_in_whatever_order_hosts_are_known(
    loads: list[Load], hosts: list[Candidate]
) -> None:
    assert pack(loads, hosts[::-1]) == pack(loads, hosts)


def test_each_machine_goes_to_the_host_that_it_fills_best() -> None:
    places = pack([load("1", 4), load("2", 6)], [host("a", 9), host("b", 5), host("c", 7)])
    assert places == [Place("1", "b", None), Place("2", "c", None)]


def test_the_given_order_is_kept_where_it_places_all() -> None:
    hosts = [host("a", 6), host("b", 10)]
    assert hosts_of(pack([load("1", 4), load("2", 6)], hosts)) == {"1": "a", "2": "b"}
    assert hosts_of(pack([load("2", 6), load("1", 4)], hosts)) == {"1": "b", "2": "a"}


def test_the_largest_come_first_where_the_given_order_does_not_place_all() -> None:
    loads = [load("1", 2), load("2", 2), load("3", 3), load("4", 3)]
    hosts = [host("a", 5), host("b", 5)]
    assert best_fit(loads, hosts) == 3
    placed = hosts_of(pack(loads, hosts, steps=0))
    assert placed == {"1": "a", "2": "b", "3": "a", "4": "b"}


def test_a_search_finds_the_plan_that_no_simple_order_does() -> None:
    loads = [load(str(number), size) for number, size in enumerate(UNEASY)]
    hosts = [host("a", 10), host("b", 10)]
    assert [each.host for each in pack(loads, hosts, steps=0)].count(None) == 1
    assert [each.host for each in pack(loads, hosts)] == ["a", "b", "a", "a", "b", "b"]


def test_a_search_places_more_where_it_cannot_place_all() -> None:
    loads = [load(str(number), size) for number, size in enumerate((*UNEASY, 7))]
    places = pack(loads, [host("a", 10), host("b", 10)])
    assert [each.id for each in places if each.host is None] == ["6"]


def test_what_only_swaps_equal_hosts_or_machines_is_not_tried_again() -> None:
    loads = [load(str(number), size) for number, size in enumerate(UNEASY * 3)]
    hosts = [host(str(number), 10) for number in range(6)]
    assert None not in hosts_of(pack(loads, hosts, steps=1000)).values()


@pytest.mark.parametrize("asked", [{"host": "a"}, {"zone": "az1"}])
def test_hosts_with_equal_room_are_told_apart_where_a_machine_needs_one(
    asked: dict[str, Any],
) -> None:
    loads = [load("1", 6), load("2", 5, **asked), load("3", 5), load("4", 4)]
    hosts = [host("a", 10), host("b", 10, zone="az2" if "zone" in asked else "az1")]
    assert None in hosts_of(pack(loads, hosts, steps=0)).values()
    assert hosts_of(pack(loads, hosts)) == {"1": "b", "2": "a", "3": "a", "4": "b"}


def test_where_not_all_have_room_the_small_ones_go() -> None:
    places = pack([load("1", 10), load("2", 5), load("3", 5)], [host("a", 10)], steps=0)
    assert places == [
        Place("1", None, "not enough memory (1)"), Place("2", "a", None), Place("3", "a", None),
    ]  # fmt: skip


def test_a_machine_that_no_host_can_take_leaves_the_others_their_search() -> None:
    loads = [load(str(number), size) for number, size in enumerate((*UNEASY, 200))]
    places = pack(loads, [host("a", 10), host("b", 10)], steps=500)
    assert [each.id for each in places if each.host is None] == ["6"]


def test_a_zone_that_is_asked_for_is_kept() -> None:
    loads = [load("1", 5, zone="az2"), load("2", 5)]
    hosts = [host("a", 5, zone="az2"), host("b", 6)]
    assert hosts_of(pack(loads[::-1], hosts)) == {"1": "a", "2": "b"}
    assert pack(loads[:1], hosts[1:]) == [Place("1", None, "in another zone (1)")]


def test_a_machine_that_is_powered_off_needs_only_room_for_its_disk() -> None:
    off = [load(str(number), 50, vcpus=200, disk_gb=40, runs=False) for number in range(3)]
    places = pack(off, [host("a", 1)])
    assert [each.host for each in places] == ["a", "a", None]
    assert places[2].reason == "not enough disk (1)"


def test_a_machine_that_is_powered_off_leaves_the_memory_to_others() -> None:
    off = load("2", 50, vcpus=50, disk_gb=50, runs=False)
    places = pack([load("1", 60, vcpus=60), off, load("3", 40, vcpus=40)], [host("a")])
    assert hosts_of(places) == {"1": "a", "2": "a", "3": "a"}


def test_a_disk_that_lies_there_leaves_the_room_to_others() -> None:
    here = load("2", disk_gb=50, disk_host="a")
    places = pack([load("1", disk_gb=60), here, load("3", disk_gb=40)], [host("a")])
    assert hosts_of(places) == {"1": "a", "2": "a", "3": "a"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"up": False}, "down (1)"),
        ({"disabled": True}, "disabled (1)"),
        ({"paused": True}, "paused (1)"),
        ({"name": "home"}, "the host that it leaves (1)"),
        ({"name": "unclean"}, "cleaning up after this machine (1)"),
        ({"capabilities": frozenset()}, "cannot move disks (1)"),
    ],
)
def test_a_host_that_routing_refuses_is_given_nothing(values: dict[str, Any], reason: str) -> None:
    closed = host(**({"name": "a"} | values))
    leaving = load("1", disk_host="home", leaves=True, barred=frozenset({"unclean"}))
    assert pack([leaving], [closed]) == [Place("1", None, reason)]
    assert hosts_of(pack([leaving], [closed, host("open")])) == {"1": "open"}


def test_more_machines_than_python_has_frames_are_searched() -> None:
    loads = [load(str(number), 2) for number in range(1500)]
    hosts = [host(str(number), 31, free_vcpus=1000, free_disk_gb=1000) for number in range(99)]
    assert [each.host for each in pack(loads, hosts)].count(None) == 1500 - 99 * 15


def test_without_hosts_or_machines_there_is_nothing_to_do() -> None:
    assert pack([], [host("a")]) == []
    assert pack([load("1")], []) == [Place("1", None, "there are no hosts")]
