"""How a host makes itself known, stays alive and is healed."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from compute_agent.drivers.fake import FakeDriver
from compute_agent.drivers.fake_control import Behaviour
from compute_agent.endpoint import AGAIN_SECONDS, TRIES, Ears
from paddock.actions import StepKind
from paddock.clients import CONTRACT
from paddock.context import RequestContext
from paddock.records import HostFacts, QueryOrder
from tests.agent_lab import AgentLab, ended, eventually

BACKENDS = ("threading", "eventlet")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AgentLab]:
    lab = AgentLab(tmp_path)
    yield lab
    lab.close()


def test_an_agent_waits_for_the_conductor(lab: AgentLab) -> None:
    lab.conductor.reachable = False
    lab.start()
    time.sleep(0.3)
    assert lab.conductor.hellos == []
    lab.conductor.reachable = True
    [hello] = eventually(lambda: lab.conductor.hellos, "hello")
    assert (hello.host, hello.zone, hello.replaces) == ("h1", "az1", None)
    assert hello.machine_id
    beats = lab.conductor.beats
    eventually(lambda: beats and beats[-1].facts.resources.vcpus, "real facts")


def test_a_hello_whose_answer_is_lost_is_repeated(lab: AgentLab) -> None:
    lab.conductor.lost_replies.add("hello")
    lab.started()
    assert len({hello.epoch for hello in lab.conductor.hellos}) == 1


def test_a_new_process_replaces_the_last_one(lab: AgentLab) -> None:
    lab.started().stop()
    lab.started()
    first, second = lab.conductor.hellos
    assert second.replaces == first.epoch != second.epoch
    assert second.facts.store == lab.driver.facts().store  # other hosts may need it meanwhile


def test_a_process_whose_host_has_a_newer_one_launches_nothing_and_must_end(lab: AgentLab) -> None:
    lab.started()
    lab.conductor.epoch = "other"
    eventually(lambda: lab.stale, "the news")
    row = lab.run(StepKind.LAUNCH, lab.guest())
    time.sleep(0.3)
    assert row.starts == 0


@pytest.mark.parametrize("wanted", ["leave", "restart"])
def test_a_host_tells_when_it_booted_where_its_instances_are_to_run_again(
    tmp_path: Path, wanted: str
) -> None:
    lab = AgentLab(tmp_path, on_host_boot=wanted)
    try:
        told = lab.started().conductor.hellos[-1].booted
        assert (told is not None) == (wanted == "restart")
        assert told is None or abs(told - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
    finally:
        lab.close()


def test_an_agent_that_cannot_name_its_predecessor_waits_until_it_may_take_over(
    lab: AgentLab,
) -> None:
    lab.conductor.epoch = "other"
    lab.start()
    time.sleep(0.3)
    assert lab.conductor.hellos == []
    lab.conductor.epoch = None
    eventually(lambda: lab.conductor.reconciled_times, "reconciling")
    lab.running()
    assert lab.stale == []


def test_an_outage_of_the_conductor_ends_in_reconciling(lab: AgentLab) -> None:
    lab.started()
    lab.conductor.reachable = False
    time.sleep(lab.conf.compute.lease + 0.2)  # the lease must really lapse
    before = len(lab.conductor.reconciles)
    lab.conductor.reachable = True
    eventually(lambda: len(lab.conductor.reconciles) > before, "reconciling")
    lab.running()


def test_guests_run_on_while_no_conductor_is_reached(lab: AgentLab) -> None:
    lab.started()
    guests = [lab.running(), lab.running()]
    lab.done(StepKind.PAUSE, guests[1])
    before = {found.instance_id: found for found in lab.driver.found()}
    lab.conductor.reachable = False
    time.sleep(lab.conf.compute.lease + 0.2)  # the lease must really lapse
    assert {found.instance_id: found for found in lab.driver.found()} == before
    reconciled = len(lab.conductor.reconciles)
    lab.conductor.reachable = True
    eventually(lambda: len(lab.conductor.reconciles) > reconciled, "reconciling")
    assert {found.instance_id: found for found in lab.driver.found()} == before
    assert lab.driver.console(guests[0].id, 1).startswith("PADDOCK-GUEST mark=first boots=1 ")
    assert set(before) == {guest.id for guest in guests}


def test_a_hint_that_only_names_the_step_works_too(tmp_path: Path) -> None:
    lab = AgentLab(tmp_path, heartbeat_interval=2.0, lease=30.0)
    try:
        lab.started()
        time.sleep(0.2)
        row = lab.conductor.accept(StepKind.LAUNCH, lab.guest())
        begun = time.monotonic()
        lab.hints.run(RequestContext(), row.id)
        assert ended(row).status == "succeeded"
        assert time.monotonic() - begun < 1.5
    finally:
        lab.close()


def test_a_probe_is_answered(lab: AgentLab) -> None:
    lab.started()
    lab.hints.ping(RequestContext(), "n1")
    eventually(lambda: lab.conductor.pongs == ["n1"], "the answer")


def test_a_deaf_listener_starts_anew_and_its_process_ends_at_last() -> None:
    class Server:
        restarts = 0

        def restart(self, timeout: float) -> None:
            self.restarts += 1

    server, ended = Server(), []
    ears = Ears(server, lambda: ended.append(True))  # type: ignore[arg-type]
    start = time.clock_gettime(time.CLOCK_BOOTTIME)
    for second in range(int(AGAIN_SECONDS * (TRIES + 1))):
        ears._tried_at = [min(at, start + second) for at in ears._tried_at]
        ears.listen(start + second)
    eventually(lambda: server.restarts == TRIES, "listening anew")
    assert ended


def test_a_console_is_answered_by_a_call(lab: AgentLab) -> None:
    lab.started()
    guest = lab.running()
    for kind in ("console", "horoscope"):
        lab.conductor.queries[kind] = QueryOrder(
            id=kind, kind=kind, instance_id=guest.id, params={"length": 1}
        )
        lab.hints.query(RequestContext(), kind)
    lab.hints.query(RequestContext(), "over")
    answers = lab.conductor.answers
    eventually(lambda: len(answers) == 2, "the answers")
    assert answers["console"]["ok"]["output"].startswith("PADDOCK-GUEST mark=first boots=1")
    assert "horoscope" in answers["horoscope"]["error"]["message"]


def test_a_hung_console_keeps_no_step_waiting(lab: AgentLab) -> None:
    lab.started()
    guest = lab.running()
    lab.driver.control.set("console", Behaviour(hang=True))
    for number in range(5):
        lab.conductor.queries[str(number)] = QueryOrder(
            id=str(number), kind="console", instance_id=guest.id, params={}
        )
        lab.hints.query(RequestContext(), str(number))
    lab.done(StepKind.PAUSE, guest)


STEP_OF = {
    "launched_by": StepKind.REBOOT, "launch": StepKind.REBOOT, "shut_down": StepKind.STOP,
    "pause": StepKind.PAUSE, "unpause": StepKind.UNPAUSE, "suspend": StepKind.SUSPEND,
    "resume": StepKind.RESUME, "release": StepKind.POWER_OFF, "destroy": StepKind.DESTROY,
    "seen": StepKind.PAUSE,
}  # fmt: skip


@pytest.mark.parametrize("method", ["facts", "found", *STEP_OF])
def test_a_hypervisor_call_that_hangs_stops_neither_heartbeats_nor_other_instances(
    lab: AgentLab, method: str
) -> None:
    lab.started()
    hung, other = lab.running(), lab.running()
    mine = hung.id if method in STEP_OF else None
    lab.driver.control.set(method, Behaviour(hang=True), mine)
    rows = [lab.run(kind, hung, seconds=600.0) for kind in filter(None, [STEP_OF.get(method)])]
    eventually(lambda: all(row.starts for row in rows), "the start")
    before = len(lab.conductor.beats)
    for kind in (StepKind.PAUSE, StepKind.UNPAUSE, StepKind.POWER_OFF, StepKind.LAUNCH):
        lab.done(kind, other)
    eventually(lambda: len(lab.conductor.beats) > before + 3, "further heartbeats")
    assert [row.outcome for row in rows] == [None] * len(rows)


class Sluggish(FakeDriver):
    """Blocks inside C, where green threads cannot help themselves."""

    slow = False

    def facts(self) -> HostFacts:
        if self.slow:
            ctypes.CDLL(None).usleep(900_000)
        return super().facts()

    def pause(self, instance_id: str) -> None:
        ctypes.CDLL(None).usleep(900_000)
        super().pause(instance_id)


def test_a_slow_hypervisor_never_delays_heartbeats(lab: AgentLab) -> None:
    driver = Sluggish(lab.conf)
    lab.start(driver)
    guest = lab.guest()
    lab.done(StepKind.LAUNCH, guest)
    driver.slow = True
    before, begun = len(lab.conductor.beats), time.monotonic()
    lab.done(StepKind.PAUSE, guest)
    assert time.monotonic() - begun >= 0.9
    assert len(lab.conductor.beats) - before >= 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_does_not_under_either_backend(backend: str) -> None:
    case = f"{__file__}::{test_a_slow_hypervisor_never_delays_heartbeats.__name__}"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", case],
        env=os.environ | {"PADDOCK_CONCURRENCY": backend},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout


def test_an_agent_tells_the_rpc_version_that_it_serves(lab: AgentLab) -> None:
    lab.started()
    assert lab.conductor.hellos[-1].facts.rpc_version == CONTRACT.version
    assert lab.conductor.beats[-1].facts.rpc_version == CONTRACT.version


def test_a_step_that_only_newer_releases_know_is_left_alone_and_stops_nothing(
    lab: AgentLab,
) -> None:
    lab.started()
    unknown = lab.conductor.accept(cast(StepKind, "teleport"), lab.guest())
    lab.hint(unknown)
    lab.running()
    assert (unknown.status, unknown.outcome) == ("accepted", None)
