"""Rounds of faults: what they deal, what they count, and how a run of them ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import brokers, machines, points, processes
from tests.faults.check import seconds_left
from tests.faults.cloud import FaultCloud
from tests.faults.history import Event, History
from tests.faults.ledger import Ledger
from tests.faults.pace import Pace
from tests.faults.patience import Patience
from tests.faults.rounds import Rounds
from tests.faults.run import main, tell
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


class NothingThere:
    """Of a cloud what faults need that look for something to hit: there is nothing."""

    def __init__(self, directory: Path) -> None:
        self.pace = Pace(quick=True)
        self.directory = directory
        self.fleet = SimpleNamespace(hosts={"h1": self})

    def failpoints(self, _: str) -> Path:
        return self.directory

    def process(self, _: str) -> None:
        return None

    def await_running(self, _: str) -> bool:
        return True

    def signal_guest(self, *_: object) -> str:
        return ""

    def queues(self, _: str) -> list[str]:
        return []

    def queue_delete(self, _: str) -> None:
        pass


def test_faults_that_hit_nothing_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "SHORTEST", 0.1)
    monkeypatch.setattr(points.CrashApiAtPoint, "longest", 0.1)
    monkeypatch.setattr(machines, "GUEST_SECONDS", 0.1)
    cloud: Any = NothingThere(tmp_path)
    point = points.CrashApiAtPoint(cloud, "api", Random(1))
    guest = machines.KillGuest(cloud, "h1", Random(1))
    agent = processes.KillAgent(cloud, "compute-h1", Random(1))
    monkeypatch.setattr(processes.KillAgent, "_hit", lambda _: None)
    for fault in (point, guest, agent):
        fault.inject()
    point.heal()
    queues = brokers.DeleteQueues(cloud, "compute-h1", Random(1))
    queues.spoil(cloud, "compute.h1.h1")
    assert [fault.detail for fault in (point, guest, queues)] == [
        "api.before-hint crash: not hit", "no guest was there", "0 for answers",
    ]  # fmt: skip
    assert all(fault.missed for fault in (point, guest, agent, queues))


def test_a_fault_that_hits_is_no_miss(tmp_path: Path) -> None:
    cloud: Any = NothingThere(tmp_path)
    cloud.signal_guest = lambda *_: "the guest"
    guest = machines.KillGuest(cloud, "h1", Random(1))
    guest.inject()
    assert not guest.missed


def test_what_had_no_effect_is_counted_by_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History(1, "fake")
    for kind, missed in (("KillGuest", True), ("KillGuest", False), ("KillApi", False)):
        history.add_event(Event(1, kind, "h1", missed=missed))
    history.write(tmp_path / "history.json")
    document = json.loads((tmp_path / "history.json").read_text())
    assert document["faults_by_kind"] == {"KillApi": 1, "KillGuest": 2}
    assert document["without_effect_by_kind"] == {"KillGuest": 1}
    tell(history)
    said = "".join(capsys.readouterr())
    assert "KillGuest: 2, 1 of them without effect\n" in said
    assert "KillApi: 1\n" in said


class Watch:
    """A clock that goes on only when somebody sleeps or looks."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(well_after: float, look_seconds: float = 0.0, extended: float = 0.0) -> list[str]:
    """What is wrong when all is well so many seconds after the last fault was healed."""
    watch = Watch()
    patience = Patience(60.0, watch, watch.sleep)
    if extended:
        patience.extend(extended)

    def look() -> list[str]:
        found = [] if watch.now >= 1000.0 + well_after else ["something goes on"]
        watch.sleep(look_seconds)
        return found

    return patience.until_well(look)


def test_all_must_be_well_within_the_promised_time() -> None:
    assert wait(59.0) == []
    assert wait(59.0, look_seconds=4.0) == []
    assert wait(600.0) == ["something goes on"]


def test_what_is_well_too_late_is_a_violation() -> None:
    watch = Watch()
    patience = Patience(60.0, watch, watch.sleep)
    watch.sleep(61.0)  # the last clients waited so long for their answers
    [said] = patience.until_well(list)
    assert said == (
        "something went on until 61.0 s after the last fault was healed, and 60.0 s are promised"
    )
    assert patience.settled == 61.0


def test_where_a_host_stays_dead_the_last_deadline_counts() -> None:
    assert wait(70.0, extended=80.0) == []
    assert wait(85.0, extended=80.0) == ["something goes on"]
    now = datetime.now(UTC).replace(tzinfo=None)
    steps = [
        {"status": status, "deadline": deadline and now + timedelta(seconds=deadline)}
        for status, deadline in (
            ("running", 40), ("running", -5), ("waiting", None), ("failed", 90),
        )
    ]  # fmt: skip
    ledger = Ledger({}, {}, {}, steps, [], [], [], {}, [])
    assert 30 < seconds_left(ledger) <= 40
    assert seconds_left(Ledger({}, {}, {}, steps[1:], [], [], [], {}, [])) == 0
