"""What an agent may say, whatever it is about."""

from __future__ import annotations

from typing import Any

import pytest

from conductor import limits
from paddock.clients import wire
from paddock.errors import BadRequest, Conflict, GuestHung, HypervisorError
from paddock.inventory import ORDER
from tests.fixtures.lab import Lab

FACTS = {"resources": {"vcpus": 8, "memory_mb": 8192, "disk_gb": 100}, "capabilities": ["move"]}


@pytest.mark.parametrize(
    "told",
    [
        {"epoch": "x" * 37},
        {"found": [{"generation": -1}]},
        {"found": [{"disks": [2**31]}]},
        {"found": [{}] * 2001},
        {"beat": {"x": [[1] * 2000] * 2000}},
        {"steps": [{}] * 101},
        {"progress": {"done": 2**62 + 1}},
        {"hello": {"booted": float("inf")}},
        {"hello": {"zone": "az\u202e1"}},
        {"hello": {"machine_id": "\ud800"}},
        {"beat": {"facts": FACTS | {"resources": {"vcpus": 10**6}}}},
        {"beat": {"facts": FACTS | {"extra": {str(n): "x" * 200 for n in range(1000)}}}},
        {"beat": {"facts": FACTS | {"extra": {"load": float("nan")}}}},
        {"beat": {"facts": FACTS | {"version": "1\n2"}}},
        {"beat": {"facts": FACTS | {"capabilities": [[[[[[]]]]]]}}},
    ],
    ids=lambda told: str(told)[:40].encode("ascii", "replace").decode(),
)
def test_what_no_honest_agent_says_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        limits.check(told)
    assert len(refused.value.message) < 300


def test_what_honest_agents_say_passes(lab: Lab) -> None:
    agent = lab.agents["h1"]
    limits.check({"beat": {"host": "h1", "epoch": agent.epoch, "facts": wire(agent.facts)}})
    limits.check({"recorded_epoch": None, "hello": {"booted": 3.5e6, "replaces": None}})
    limits.check({"found": [{"instance_id": "a guest that somebody cloned beside those of ours"}]})
    limits.check({"found": [dict.fromkeys("abcdefgh", 1) | {"disks": [1, 2, 3]}] * 2000})
    limits.check({"outcomes": [{"error": {"message": "two\nlines"}}]})
    limits.check({"beat": {"facts": FACTS | {"extra": {"virt_type": "KVM failed:\n" + "x" * 999}}}})


def test_an_error_is_one_that_a_host_can_have() -> None:
    hung = limits.error({"type": "GuestHung", "message": "It\nhangs.", "kwargs": {"a": 1}})
    assert (type(hung), hung.message, hung.kwargs) == (GuestHung, "It hangs.", {})
    assert type(limits.error({"type": "Unsupported", "message": "no"})).__mro__[1] is Conflict
    for forged in ({"type": "Unauthorized"}, {"type": []}, {}, {"message": {"a": 1}}):
        assert type(limits.error(forged)) is HypervisorError
    assert len(limits.error({"message": "x" * 10_000}).message) == 2000


@pytest.mark.parametrize(
    "said", [None, [], {}, {"ok": "text"}, {"ok": {"output": ["x"]}}, {"error": "text"},
             {"ok": {"output": "x" * (2**20 + 1)}}],
)  # fmt: skip
def test_a_consoles_answer_has_a_text_or_an_error(said: Any) -> None:
    with pytest.raises(BadRequest):
        limits.answer("console", said)


def test_a_console_may_have_any_characters_and_nothing_beside() -> None:
    output = "\x1b[0m\r\n" * 100
    said = {"ok": {"output": output, "more": 1}, "more": 2}
    assert limits.answer("console", said) == {"ok": {"output": output}}


@pytest.mark.parametrize("said", [{"ok": [1]}, {"ok": {}}, {"ok": [{"instance_id": "x" * 99}]}])
def test_an_inventory_has_things(said: Any) -> None:
    with pytest.raises(BadRequest):
        limits.answer(ORDER, said)
