"""The conductor as a process: it refuses what it cannot use, and stops in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conductor.cmd import build
from conductor.db import schema
from paddock import config, rpc
from paddock.clients import CatalogClient, ConductorClient
from paddock.context import RequestContext
from paddock.errors import StaleEpoch
from paddock.records import Heartbeat, HostFacts, Resources

SECONDS = 60


def settings(tmp_path: Path) -> Path:
    path = tmp_path / "paddock.conf"
    path.write_text(
        "[DEFAULT]\nhost = c1\ntransport_url = paddock://test/\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/paddock.db\n"
    )
    return path


def start(tmp_path: Path, backend: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "conductor.cmd", "--config-file", str(settings(tmp_path))]
    environment = {**os.environ, "PADDOCK_CONCURRENCY": backend}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("backend", ["threading", "eventlet"])
def test_a_conductor_ends_with_status_0_after_sigterm(tmp_path: Path, backend: str) -> None:
    schema.upgrade(f"sqlite:///{tmp_path}/paddock.db")
    with start(tmp_path, backend) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "is running" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0, said
    assert any("conductor c1 has stopped" in line for line in said)


def test_a_conductor_refuses_a_database_without_schema(tmp_path: Path) -> None:
    with start(tmp_path, "threading") as process:
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 1
    assert said.count("\n") == 1
    assert "run 'paddock-manage db upgrade'" in said


def test_a_built_conductor_serves_both_topics(tmp_path: Path) -> None:
    connection = f"sqlite:///{tmp_path}/paddock.db"
    schema.upgrade(connection)
    common = {"host": "c1", "transport_url": f"paddock://{tmp_path.name}/"}
    conf = config.load(overrides={"DEFAULT": common, "database": {"connection": connection}})
    service = build(conf, "c1")
    client = rpc.Client(rpc.transport(conf, "api"), 5)
    service.start()
    client.start()
    try:
        catalog = CatalogClient(client.to(rpc.conductor_target("conductor-api")))
        assert catalog.ping(RequestContext())["database"] is True
        agents = ConductorClient(client.to(rpc.conductor_target("conductor-agent")))
        facts = HostFacts(
            resources=Resources(vcpus=1, memory_mb=1, disk_gb=1), capabilities=[], version="1"
        )
        with pytest.raises(StaleEpoch):
            agents.heartbeat(Heartbeat(host="h1", epoch="e", facts=facts, held=[]))
    finally:
        client.stop(5)
        service.stop()
