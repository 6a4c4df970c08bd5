"""The floor: a pause's messages and commits with nothing else, beside the cloud that is measured.

Seven messages (three calls with their answers and a cast, in quorum queues, replies in classic
ones) of a fixed size, and three commits of one statement each, in as many processes as the cloud
has. They use bare oslo.messaging and SQLAlchemy's core on the cloud's own broker and database
server, so no cloud that sends as many messages can be faster but by sending several in one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import sqlalchemy as sa

from bench.cloud import administrator, cpu_of
from bench.ledger import Batch, Ledger, now
from conductor.broker_users import Rights
from devstack.local import LocalCloud
from devstack.place import CHECKOUT
from devstack.processes import MARK
from devstack.say import last_line
from paddock.runtime import VARIABLE

NAME = "floor"
HOSTS = ["h1", "h2"]
USER = {NAME: Rights(*[".*"] * 5)}
"""Its user at the broker."""
END_SECONDS = 10.0
TABLE = """
    CREATE TABLE actions (
        id VARCHAR(36) PRIMARY KEY, verb VARCHAR(64) NOT NULL, status VARCHAR(16) NOT NULL,
        created_at {time} NOT NULL, finished_at {time}, body TEXT NOT NULL
    )
"""
TIMES = {"postgresql": "TIMESTAMP", "mysql": "DATETIME(6)"}


class Floor:
    """Its running processes."""

    def __init__(self, cloud: LocalCloud, processes: list["Process"]) -> None:
        self._cloud = cloud
        self._processes = processes
        self._ledger = Ledger(administrator(cloud, NAME))

    def one(self, count: int) -> list[float]:
        """The milliseconds of so many rounds, one after the other."""
        return [self.many(1, 1).milliseconds for _ in range(count)]

    def many(self, count: int, concurrency: int) -> Batch:
        """So many rounds, posted so many at once."""
        begun = now()
        post = {"rounds": count, "concurrency": concurrency}
        self._processes[0].tell(post)
        self._processes[0].hear("posted")
        self._ledger.await_quiet()
        return self._ledger.since(begun, count)

    def cpu_seconds(self) -> float:
        """What its processes have used, and the broker and the database server, which others
        use too."""
        own = sum(cpu_of(process.pid) for process in self._processes)
        servers = ("rabbitmq", self._cloud.database.role)
        records = [self._cloud.registry.find(name) for name in servers]
        return own + sum(cpu_of(record.pid) for record in records if record)

    def close(self) -> None:
        """Close what reads its table."""
        self._ledger.close()


@contextmanager
def running(cloud: LocalCloud) -> Iterator[Floor]:
    """The floor beside a running cloud whose broker knows `USER`; its processes end afterwards."""
    cloud.database.create_database(NAME)
    url = cloud.database.url(NAME)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS actions"))
        connection.execute(sa.text(TABLE.format(time=TIMES[engine.dialect.name])))
    engine.dispose()
    settings = {"broker": cloud.broker.url(NAME), "database": url, "hosts": HOSTS}
    roles = [("api", ""), ("conductor", ""), *(("agent", host) for host in HOSTS)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(Process(cloud, role, {**settings, "host": host}))
            for role, host in roles
        ]
        for process in processes:
            process.hear("ready")
        floor = Floor(cloud, processes)
        stack.callback(floor.close)
        floor.many(20, 8)  # all connections are open, all queues there
        yield floor


class Process:
    """One of the floor's processes; a context manager, which ends it.

    :param role: see :mod:`bench.floor_process`
    """

    def __init__(self, cloud: LocalCloud, role: str, settings: dict[str, Any]) -> None:
        self._log = cloud.registry.logs / f"floor-{role}{settings['host']}.log"
        with self._log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.floor_process", role],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
                cwd=CHECKOUT, start_new_session=True,
                env={**os.environ, MARK: str(cloud.registry.run), VARIABLE: "threading"},
            )  # fmt: skip
        self.pid = self._process.pid
        self.tell(settings)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()

    def tell(self, document: dict[str, Any]) -> None:
        """Write a line to its input."""
        pipe = _pipe(self._process.stdin)
        pipe.write(json.dumps(document) + "\n")
        pipe.flush()

    def hear(self, word: str) -> None:
        """Wait until it says so.

        :raises RuntimeError: it ended instead; the text holds the last line of its log
        """
        if _pipe(self._process.stdout).readline() != f"{word}\n":
            raise RuntimeError(f"a process of the floor ended: {last_line(self._log)}")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
