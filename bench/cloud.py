"""A cloud of processes for a benchmark, in a directory of its own, removed afterwards."""

import contextlib
import io
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from devstack.control_plane import Options
from devstack.database import ADMINISTRATOR
from devstack.local import DATABASE, PORTS, LocalCloud
from devstack.place import Place, program
from devstack.ports import free_ports
from devstack.private import secret_file
from devstack.processes import family
from devstack.teardown import take_down

CHECK_SECONDS = 120.0
UNLIMITED = {"quota_instances": -1, "quota_cores": -1, "quota_memory_mb": -1}


@contextmanager
def running(
    hosts: Sequence[str],
    control: Options | None = None,
    agents: Options | None = None,
    others: Sequence[str] = (),
    **more: Any,
) -> Iterator[LocalCloud]:
    """A started cloud without quotas; what devstack says of its start and end is not shown.

    :param control: group → option → value for the conductors and the API
    :param agents: the same for the agents
    :param others: hosts whom only the broker knows
    :param more: what else :class:`LocalCloud` takes
    """
    options = {group: dict(values) for group, values in (control or {}).items()}
    options["conductor"] = UNLIMITED | options.get("conductor", {})
    with tempfile.TemporaryDirectory(prefix="paddock-bench-") as directory:
        place = Place(Path(directory) / ".paddock")
        place.directory.mkdir()
        cloud = LocalCloud(place, free_ports(PORTS), hosts, options, agents, others, **more)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                cloud.start()
            yield cloud
        finally:
            with contextlib.redirect_stdout(io.StringIO()):
                take_down(place.directory, purge=True)


def memory(cloud: LocalCloud) -> dict[str, int]:
    """The proportional set size of each part of Paddock, with its workers, in bytes (proc(5))."""
    return {
        record.name: sum(map(set_size, family(record.pid)))
        for record in cloud.registry.records()
        if record.role in ("api", "conductor", "compute") and cloud.registry.alive(record)
    }


def set_size(pid: int) -> int:
    """A process's proportional set size in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (pss,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(pss) * 1024


def cpu_seconds(cloud: LocalCloud, name: str) -> float:
    """The CPU time that a part of the cloud and its children that live have used."""
    record = cloud.registry.find(name)
    assert record is not None
    return cpu_of(record.pid)


def cpu_of(pid: int) -> float:
    """The CPU time that a process and its children that live have used, in seconds."""
    return sum(map(_cpu_seconds, family(pid)))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def administrator(cloud: LocalCloud, database: str = DATABASE) -> sa.URL:
    """The URL of a database for its server's administrator, whose statements nobody counts."""
    password = secret_file(cloud.database.directory / "administrator.password")
    url = sa.make_url(cloud.database.url(DATABASE))
    return url.set(username=ADMINISTRATOR, password=password, database=database)


def ask_database(cloud: LocalCloud, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query on the cloud's own database."""
    url = cloud.database.url(DATABASE).replace("postgresql+psycopg:", "postgresql:")
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def check(cloud: LocalCloud) -> str:
    """What ``paddock-manage check`` finds wrong with the ledger; empty when nothing is."""
    settings = str(cloud.place.settings("manage"))
    command = [program("paddock-manage"), "--config-file", settings, "check"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
