"""Following a drain: what is said of each change, and when it is given up."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from paddock.cli import tables
from paddock.cli.drains import is_well
from paddock.cli.failure import CloudAway
from paddock.cli.watch import PATIENCE_SECONDS, SHOWN, JsonLines, Lines, Screen, Watch, picture

Document = dict[str, Any]


def machine(name: str = "web", **fields: Any) -> Document:
    plain = {"id": name, "name": name, "how": "cold", "target": "h2", "status": "planned",
             "verdict": None, "reason": None, "host": "h1", "progress": 0,
             "seconds": None, "estimate": None}  # fmt: skip
    return plain | fields


def drain(status: str = "running", *machines: Document, **fields: Any) -> Document:
    counts: dict[str, int] = {}
    for one in machines:
        kind = one["verdict"] or one["status"]
        counts[kind] = counts.get(kind, 0) + 1
    ended = status in ("completed", "failed", "cancelled", "restored")
    plain = {"id": "d", "host": "h1", "reason": None, "status": status, "notes": [],
             "counts": counts, "machines": list(machines), "max_parallel": 2,
             "estimate": None if ended else 75.2,
             "finished_at": "now" if ended else None}  # fmt: skip
    return plain | fields


def looking(*looks: Document | CloudAway) -> Callable[[], Document]:
    left: Iterator[Document | CloudAway] = iter(looks)

    def look() -> Document:
        found = next(left)
        if isinstance(found, CloudAway):
            raise found
        return found

    return look


def moved(name: str = "web") -> Document:
    return machine(name, status="done", verdict="moved", host="h2", progress=100, seconds=4.2)


def test_a_line_is_said_for_each_change_and_none_for_what_stays() -> None:
    said: list[str] = []
    moving = drain("running", machine(status="moving"))
    looks = [drain("running", machine()), moving, moving, drain("completed", moved())]
    end = Watch(looking(*looks), 0.1, lambda _: None).follow(Lines(said.append))
    assert end["status"] == "completed"
    assert said == [
        "Drain d of host h1: running; 1 planned, about 1:15 min left",
        "web moving to h2 (0 %)",
        "web moved to h2 in 4.2 s",
        "Drain d of host h1: completed; 1 moved",
    ]


def test_a_cloud_that_is_away_for_a_while_is_waited_for_and_named_once() -> None:
    said: list[str] = []
    away = CloudAway("It does not answer.")
    looks = (drain("running", moved()), away, away, drain("completed", moved()))
    Watch(looking(*looks), 1.0, lambda _: None).follow(Lines(said.append))
    assert said.count("It does not answer.") == 1
    assert said[-1] == "Drain d of host h1: completed; 1 moved"


class Clock:
    """Time that passes only by what is waited for."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("interval", [10.0, 7.0, 1000.0])
@pytest.mark.parametrize("slowness", [0.0, 30.0])
def test_a_cloud_that_stays_away_is_given_up_in_time(interval: float, slowness: float) -> None:
    clock = Clock()
    failures: list[float] = []

    def look() -> Document:
        clock.sleep(slowness)
        failures.append(clock.now)
        raise CloudAway("It does not answer.")

    with pytest.raises(CloudAway):
        Watch(look, interval, clock.sleep, clock.read).follow(Lines(lambda _: None))
    assert 0.0 <= failures[-1] - failures[0] - PATIENCE_SECONDS <= slowness


def test_a_cloud_that_answered_in_between_is_waited_for_anew() -> None:
    clock = Clock()
    away = [CloudAway("It does not answer.")] * 20
    looks = looking(*away, drain("running", moved()), *away, drain("completed", moved()))
    end = Watch(looks, 10.0, clock.sleep, clock.read).follow(Lines(lambda _: None))
    assert end["status"] == "completed"
    assert clock.now - 1000.0 > PATIENCE_SECONDS


def test_programs_get_the_machine_and_the_drain_apart() -> None:
    said: list[str] = []
    Watch(looking(drain("completed", moved())), 1.0).follow(JsonLines(said.append))
    first, last = map(json.loads, said)
    assert (first["drain_id"], first["machine"]["verdict"]) == ("d", "moved")
    assert last["drain"]["status"] == "completed"
    assert "machines" not in last["drain"]


def test_a_picture_shows_first_what_moves_and_not_more_than_fits() -> None:
    machines = [*(moved(f"m{number}") for number in range(30)), machine("web", status="moving")]
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with console.capture() as drawn:
        console.print(picture(drain("running", *machines)))
    text = drawn.get()
    assert "web" in text
    assert f"and {len(machines) - SHOWN} more" in text


@pytest.mark.parametrize("text", ["a[/b]", "web [prod]", "[red]web", ":smile:", "a\\[b]"])
def test_a_screen_shows_names_reasons_and_trouble_as_they_are(text: str) -> None:
    file = io.StringIO()
    console = Console(file=file, width=200)
    one = machine(text, reason=f"no {text}", target=f"on {text}", verdict="failed", status="done")
    looks = looking(CloudAway(f"At {text}."), drain("failed", one))
    Watch(looks, 1.0, lambda _: None).follow(Screen(console))
    drawn = file.getvalue()
    assert f"At {text}." in drawn
    (line,) = [line for line in drawn.splitlines() if f"no {text}" in line]
    assert line.startswith(f"{text} ")
    assert f" on {text} " in line


@pytest.mark.parametrize(
    ("found", "well"),
    [
        (drain("completed", moved()), True),
        (drain("restored"), True),
        (drain("failed", machine(status="done", verdict="failed")), False),
        (drain("cancelled", moved()), True),
        (drain("cancelled", machine(status="done", verdict="left")), False),
    ],
)
def test_a_cancelled_drain_is_well_only_where_nothing_was_left(found: Document, well: bool) -> None:
    assert is_well(found) is well


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (4.24, "4.2 s"), (61.0, "1:01 min"), (3725.0, "1:02:05 h")],
)
def test_time_spans_are_readable(value: float | None, text: str) -> None:
    assert tables.seconds(value) == text
