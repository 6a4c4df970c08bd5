"""A cloud of processes with green threads, on a real broker and a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock import runtime
from tests.fixtures.local import LocalLab, lab, local_cloud
from tests.integration.test_outages import test_all_recovers_when_broker_or_database_were_killed

pytestmark = pytest.mark.clouds

__all__ = ["lab", "local_cloud", "test_all_recovers_when_broker_or_database_were_killed"]


@pytest.fixture(scope="module", autouse=True)
def green() -> Iterator[None]:
    """Let the cloud's processes have green threads; what asks them has none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(runtime.VARIABLE, runtime.EVENTLET)
        yield


def test_its_processes_have_green_threads(lab: LocalLab) -> None:
    record = lab.process("conductor-c1")
    environment = Path(f"/proc/{record.pid}/environ").read_text().split("\0")
    assert f"{runtime.VARIABLE}={runtime.EVENTLET}" in environment


def test_a_server_lives_through_its_actions(lab: LocalLab) -> None:
    server = lab.active()
    for verb, status in {"pause": "PAUSED", "unpause": "ACTIVE", "os-stop": "SHUTOFF"}.items():
        assert lab.act(server, verb).status == 202
        lab.await_status(server, status)


def test_it_serves_on_while_parts_are_restarted_in_order(lab: LocalLab) -> None:
    server = lab.active()
    for name in ("conductor-c1", "conductor-c2", "compute-h1"):
        lab.stop(name)
        lab.start()
    lab.replace_api_workers()
    lab.await_ready()
    assert lab.act(server, "pause").status == 202
    lab.await_status(server, "PAUSED")
