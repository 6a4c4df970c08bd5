"""What clients see while parts of a cloud of processes are missing, and that all of it recovers."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from devstack.cloud_user import COMPUTE
from tests.fixtures.cloud import wait_for
from tests.fixtures.local import HOSTS, LONGEST, SECONDS, Answer, LocalLab, lab, local_cloud

pytestmark = pytest.mark.clouds

__all__ = ["lab", "local_cloud"]

CALL_SECONDS = 5.0
SLACK_SECONDS = 2.0
OUTAGES = {"broker": "rabbitmq", "database": "postgres"}


def refused_in_time(answer: Answer) -> bool:
    """A 503 that says when to come back, within the timeout of a call."""
    said = answer.status == 503 and "Retry-After" in answer.headers
    return said and answer.seconds < CALL_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize("part", OUTAGES)
def test_without_broker_or_database_clients_hear_so_in_time(lab: LocalLab, part: str) -> None:
    server, processes = lab.active(), lab.own_processes()
    with lab.hanging(OUTAGES[part]):
        answers = [
            lab.show(server),
            lab.ask("GET", f"{COMPUTE}/servers/detail"),
            lab.act(server, "pause"),
            lab.create(),
        ]
        assert all(map(refused_in_time, answers)), answers
        assert lab.ask("GET", "/readyz").status == 503
        assert lab.ask("GET", "/healthz").status == 200
    lab.await_ready()
    wait_for(lambda: lab.act(server, "vm-poweroff").status in (202, 400), "an answer", SECONDS)
    lab.await_status(server, "SHUTOFF")
    assert lab.own_processes() == processes


@pytest.mark.parametrize("part", OUTAGES)
def test_all_recovers_when_broker_or_database_were_killed(lab: LocalLab, part: str) -> None:
    server, processes = lab.active(), lab.own_processes()
    lab.kill(OUTAGES[part])
    assert refused_in_time(lab.show(server))
    lab.start()
    lab.await_ready()
    assert lab.act(server, "pause").status == 202
    lab.await_status(server, "PAUSED")
    assert lab.own_processes() == processes


def test_all_recovers_when_the_broker_has_lost_its_queues(lab: LocalLab) -> None:
    server, processes = lab.active(), lab.own_processes()
    lab.kill("rabbitmq")
    shutil.rmtree(lab.cloud.broker.directory / "data")
    lab.start()
    lab.await_ready()
    assert lab.act(server, "pause").status == 202
    lab.await_status(server, "PAUSED")
    assert lab.own_processes() == processes


def test_a_repeat_after_the_apis_death_is_done_once(lab: LocalLab) -> None:
    server = lab.active()
    keys = [str(uuid.uuid4()) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first = [
            pool.submit(lab.act, server, "pause", keys[0]),
            pool.submit(lab.create, keys[1]),
        ]
        lab.kill("api")
        before = [one.result() for one in first]
    assert {answer.status for answer in before} <= {0, 202}
    lab.start()
    again = [lab.act(server, "pause", keys[0]), lab.create(keys[1])]
    assert [answer.status for answer in again] == [202, 202]
    lab.await_status(server, "PAUSED")
    lab.await_status(again[1].document["server"]["id"], "ACTIVE")
    assert lab.actions(server).count("pause") == 1
    same = lab.create(keys[1])
    assert same.document["server"]["id"] == again[1].document["server"]["id"]


@contextmanager
def load(lab: LocalLab, servers: list[str]) -> Iterator[list[Answer]]:
    """Users who pause and unpause servers, one request after another, until the block ends.

    A request whose connection broke, or whose answer is that nobody knows, is sent again under its
    key: it may have been accepted.
    """
    answers: list[Answer] = []
    ended = threading.Event()

    def use(server: str) -> None:
        verbs = ("pause", "unpause")
        turn = 0
        key = str(uuid.uuid4())
        while not ended.is_set():
            answer = lab.act(server, verbs[turn % 2], key)
            answers.append(answer)
            if answer.status not in (0, 503):
                key = str(uuid.uuid4())
            if answer.status == 202:
                lab.await_status(server, "PAUSED" if turn % 2 == 0 else "ACTIVE")
                turn += 1

    with ThreadPoolExecutor(len(servers)) as pool:
        users = [pool.submit(use, server) for server in servers]
        try:
            yield answers
        finally:
            ended.set()
        for user in users:
            user.result()


def restart_by(end: Callable[[LocalLab, str], None], lab: LocalLab, names: list[str]) -> None:
    """End each process in turn, bring it back and go on once all is up."""
    for name in names:
        end(lab, name)
        lab.start()
        lab.await_ready()


@pytest.mark.parametrize("end", [LocalLab.kill, LocalLab.stop], ids=["killed", "stopped"])
def test_a_rolling_restart_fails_no_accepted_request(
    lab: LocalLab, end: Callable[[LocalLab, str], None]
) -> None:
    in_order = end is LocalLab.stop
    servers = [lab.active() for _ in range(4)]
    agents = [f"compute-{host}" for host in HOSTS]
    with load(lab, servers) as answers:
        restart_by(end, lab, ["conductor-c1", "conductor-c2", *agents])
        if in_order:
            lab.replace_api_workers()
        else:
            lab.kill_api_worker()
        many = len(answers) + 8
        wait_for(lambda: len(answers) > many, "more requests", SECONDS)
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {202, 503, *([] if in_order else [0])}, statuses
    assert statuses[202] > 8
    assert all("Retry-After" in one.headers for one in answers if one.status == 503)
    assert max(answer.seconds for answer in answers) < LONGEST
    for server in servers:
        listed = lab.ask("GET", f"{COMPUTE}/servers/{server}/os-instance-actions").document
        assert not [one for one in listed["instanceActions"] if one["message"]], listed
