"""Routing: which hosts can take a machine, in which order, and why the others cannot."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from conductor.routing import Candidate, Wish, route

SMALL = Wish(vcpus=1, memory_mb=512, disk_gb=1)


def host(name: str, **values: Any) -> Candidate:
    fields = {
        "zone": "az1", "up": True, "disabled": False, "paused": False,
        "capabilities": frozenset({"move"}), "free_vcpus": 4.0, "free_memory_mb": 4096.0,
        "free_disk_gb": 100.0,
    }  # fmt: skip
    return Candidate(name=name, **(fields | values))


def test_load_spreads_to_the_host_with_most_memory() -> None:
    found = route(SMALL, [host("a", free_memory_mb=1024.0), host("b"), host("c")])
    assert found.hosts == ["b", "c", "a"]


def test_the_host_with_the_disk_comes_first_and_needs_no_room_for_it() -> None:
    wish = dataclasses.replace(SMALL, disk_host="a")
    found = route(wish, [host("b"), host("a", free_disk_gb=0.0, free_memory_mb=600.0)])
    assert found.hosts == ["a", "b"]


def test_a_disk_moves_only_to_hosts_that_can_move_disks() -> None:
    wish = dataclasses.replace(SMALL, disk_host="a")
    found = route(wish, [host("a", up=False), host("b", capabilities=frozenset())])
    assert found.hosts == []
    assert found.reasons == {"down": 1, "cannot move disks": 1}
    kept = dataclasses.replace(wish, disk_moves=False)
    assert route(kept, [host("a"), host("b")]).hosts == ["a"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"zone": "az2"}, "in another zone"),
        ({"name": "b"}, "another host than the one asked for"),
        ({"up": False}, "down"),
        ({"disabled": True}, "disabled"),
        ({"paused": True}, "paused"),
        ({"free_vcpus": 0.5}, "not enough vCPUs"),
        ({"free_memory_mb": 511.0}, "not enough memory"),
        ({"free_disk_gb": 0.5}, "not enough disk"),
    ],
)
def test_each_obstacle_is_named(values: dict[str, Any], reason: str) -> None:
    wish = dataclasses.replace(SMALL, zone="az1", host="a")
    found = route(wish, [host(**({"name": "a"} | values))])
    assert found.hosts == []
    assert found.reasons == {reason: 1}
    assert reason in found.why()


def test_a_host_that_cleans_up_after_the_machine_is_barred() -> None:
    found = route(dataclasses.replace(SMALL, barred=frozenset({"a"})), [host("a"), host("b")])
    assert found.hosts == ["b"]


def test_reasons_are_counted_by_class() -> None:
    hosts = [host("a", up=False), host("b", up=False), host("c", free_vcpus=0.0)]
    assert route(SMALL, hosts).why() == "down (2); not enough vCPUs (1)"


def test_without_hosts_it_says_so() -> None:
    assert route(SMALL, []).why() == "there are no hosts"
