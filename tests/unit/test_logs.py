"""What a line of the log says, and what it never says."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from compute_agent.pool import Pool
from paddock import config, logs
from paddock.service import Timer

LOG = logging.getLogger("conductor.test")


class Written:
    """Logs into a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set_up(self, role: str = "conductor", **options: object) -> None:
        settings = {"log_file": str(self.path), "host": "h1", **options}
        logs.set_up(config.load(overrides={"DEFAULT": settings}), role)

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    names = {name: logging.getLogger(name).level for name in logs.OWN}
    yield Written(tmp_path / "log")
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before
    for name, level in names.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(False)


def test_a_line_says_what_it_is_about(written: Written) -> None:
    written.set_up()
    with logs.bind(request_id="req-1"), logs.bind(action_id="a1", instance_id=None):
        LOG.info("It goes %s", "on", extra={"instance_id": "i1"})
    (line,) = written.lines
    fields = "[request_id=req-1 action_id=a1 instance_id=i1 host=h1]"
    assert line.endswith(f"Z INFO conductor conductor.test {fields} It goes on")


def test_fields_end_with_their_scope_and_belong_to_one_thread(written: Written) -> None:
    written.set_up("cloud")
    with logs.bind(request_id="req-1"):
        thread = threading.Thread(target=LOG.info, args=["elsewhere"])
        thread.start()
        thread.join()
    LOG.info("afterwards")
    assert "req-1" not in "".join(written.lines)


def test_a_line_can_be_a_json_object(written: Written) -> None:
    written.set_up(log_json=True)
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        LOG.exception("Two\nlines")
    (line,) = written.lines
    document = json.loads(line)
    assert document["message"] == "Two\nlines"
    assert document["host"] == "h1"
    assert "ValueError" in document["exception"]
    assert "hunter2" not in line


def test_a_message_cannot_forge_a_line(written: Written) -> None:
    written.set_up()
    LOG.info("name %s", "x\n2030-01-01T00:00:00Z INFO api forged\x1b[2J")
    assert len(written.lines) == 1
    assert "\x1b" not in written.lines[0]


@pytest.mark.parametrize(
    "text",
    [
        "amqp://paddock:hunter2@h:5672/",
        "{'password': 'hunter2', 'name': 'x'}",
        'body {"adminPass": "hunter2"}',
        "X-Auth-Token: hunter2",
        "token eyJhbGciOiJI.eyJodW50ZXIy.hunter2",
    ],
)
def test_secrets_are_masked(written: Written, text: str) -> None:
    written.set_up()
    LOG.warning("%s", text)
    assert "hunter2" not in written.lines[0]
    assert "***" in written.lines[0]


def test_libraries_are_heard_only_when_something_is_wrong(written: Written) -> None:
    written.set_up()
    logging.getLogger("amqp").info("chatter")
    LOG.debug("detail")
    logging.getLogger("amqp").warning("trouble")
    assert [line.split("] ")[-1] for line in written.lines] == ["trouble"]


def test_a_part_of_several_in_one_process_names_its_host(written: Written) -> None:
    written.set_up("cloud")
    rounds = threading.Event()

    def work() -> None:
        LOG.info("round")
        rounds.set()

    with logs.bind(host="h7"):
        timer = Timer(work, 60, "test")
    timer.start()
    assert rounds.wait(10)
    timer.stop(10)
    assert "[host=h7] round" in written.lines[0]


def test_a_pools_thread_bears_its_makers_fields_and_not_a_requests(written: Written) -> None:
    written.set_up("cloud")
    with logs.bind(host="h7"):
        pool = Pool(1, "test")
    with logs.bind(request_id="req-1"):
        pool.submit(lambda: LOG.info("work"))
    pool.stop(10)
    assert "[host=h7] work" in written.lines[0]


def test_who_causes_warnings_cannot_fill_the_log(written: Written) -> None:
    written.set_up()
    for number in range(3 * logs.ALIKE):
        LOG.warning("No sense: %s", number)
    LOG.warning("Another thing")
    LOG.info("And this")
    assert len(written.lines) == logs.ALIKE + 2


def test_a_rate_lets_the_next_pass_and_says_how_many_did_not() -> None:
    now = [0.0]
    rate = logs.Rate(2, 60.0, lambda: now[0])
    assert [rate.admit("a") for _ in range(5)] == [0, 0, None, None, None]
    assert rate.admit("b") == 0
    now[0] = 60.0
    assert [rate.admit("a") for _ in range(3)] == [3, 0, None]
    for number in range(2 * logs.MOST_KEYS):
        assert rate.admit(number) == 0


def test_a_line_that_cannot_be_written_harms_nobody_else(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(logs, "ALIKE", 1)
    monkeypatch.setattr(logs, "Rate", partial(logs.Rate, clock=lambda: now[0]))
    monkeypatch.setattr(logging, "raiseExceptions", False)
    written.set_up()
    for _ in range(3):
        LOG.warning("Lost: %d", "x")
    now[0] = logs.ALIKE_SECONDS
    LOG.warning("Lost: %d", "x")  # says how many were kept back
    LOG.warning("Another thing: %d", 7)
    assert [line.partition("conductor.test ")[2] for line in written.lines] == [
        "[host=h1] Another thing: 7"
    ]


def test_a_line_is_bounded_whatever_it_is_about(written: Written) -> None:
    for options in ({}, {"log_json": True}):
        written.set_up(**options)
        with logs.bind(request_id="r" * 10**6):
            try:
                raise KeyError("k" * 10**6)
            except KeyError:
                LOG.exception("x" * 10**6)
    assert written.path.stat().st_size < 100_000
