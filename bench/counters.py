"""What an operation costs: SQL statements, messages and CPU time, counted where they arrive.

Counters run on while nothing is asked of the cloud (heartbeats, probes), so an idle time is
measured first, and its rates are taken off.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from bench.cloud import administrator, cpu_of
from devstack.local import DATABASE, LocalCloud

SETTINGS = {
    "postgresql": {"shared_preload_libraries": "pg_stat_statements"},
    "mariadb": {"userstat": "1"},
}
"""What a database server needs so that it counts."""
EXTENSION = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"
POSTGRES = sa.text("""
    SELECT query, calls FROM pg_stat_statements
    JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = :user
""")
MARIADB = sa.text("""
    SELECT select_commands + update_commands, other_commands
    FROM information_schema.user_statistics WHERE user = :user
""")
CONTROL = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET|SHOW|DEALLOCATE)\b", re.I)
COMMIT = re.compile(r"\s*COMMIT\b", re.I)
OVERVIEW = "{erlang:system_time(microsecond), rabbit_global_counters:overview()}."
MICROSECONDS = re.compile(r"\{(\d+),")
RECEIVED = re.compile(r"messages_received_total\s*=>\s*(\d+)")


@dataclass(frozen=True)
class Counts:
    """Counters at a moment, or what they grew by: name → count, CPU in seconds.

    :ivar times: when each was read, or how long each ran, in seconds
    """

    values: Mapping[str, float]
    times: Mapping[str, float]

    def __sub__(self, before: "Counts") -> "Counts":
        """What was counted since then."""
        return Counts(
            {name: value - before.values.get(name, 0) for name, value in self.values.items()},
            {name: moment - before.times.get(name, 0) for name, moment in self.times.items()},
        )

    def without(self, idle: "Counts") -> Mapping[str, float]:
        """The counts less what an idle cloud would have counted in that time; not below 0."""
        return {
            name: max(value - idle.values[name] / idle.times[name] * self.times[name], 0.0)
            for name, value in self.values.items()
        }


@dataclass
class Grown:
    """What a ``with`` block of :meth:`Counters.during` counted, once it has ended."""

    counts: Counts = field(default_factory=lambda: Counts({}, {}))


class Counters:
    """The counters of a cloud's broker, database server and processes."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        name = "postgres" if cloud.database.role == "postgres" else "information_schema"
        self._engine = sa.create_engine(
            administrator(cloud, name), isolation_level="AUTOCOMMIT", pool_size=1
        )
        if name == "postgres":
            with self._engine.connect() as connection:
                connection.execute(sa.text(EXTENSION))

    @contextmanager
    def during(self) -> Iterator[Grown]:
        """Count while a block runs."""
        grown = Grown()
        before = self._read()
        yield grown
        # Reading takes CPU time itself, so that is read first here and was read last there.
        grown.counts = self._read(cpu_first=True) - before

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _read(self, cpu_first: bool = False) -> Counts:
        values: dict[str, float] = {}
        times: dict[str, float] = {}

        def take(found: Mapping[str, float], moment: float) -> None:
            values.update(found)
            times.update(dict.fromkeys(found, moment))

        if cpu_first:
            take(self._cpu(), time.time())
        take(self._statements(), time.time())
        moment, messages = read_overview(self._cloud.broker.control("eval", OVERVIEW).stdout)
        take({"messages": messages}, moment)
        if not cpu_first:
            take(self._cpu(), time.time())
        return Counts(values, times)

    def _cpu(self) -> dict[str, float]:
        return {
            f"cpu.{record.name}": cpu_of(record.pid)
            for record in self._cloud.registry.records()
            if record.role != "epmd" and self._cloud.registry.alive(record)
        }

    def _statements(self) -> dict[str, float]:
        with self._engine.connect() as connection:
            if self._cloud.database.role == "postgres":
                rows = connection.execute(POSTGRES, {"user": DATABASE}).all()
                return sort_statements({row.query: row.calls for row in rows})
            statements, others = connection.execute(MARIADB, {"user": DATABASE}).one()
            return {"statements": float(statements), "transaction statements": float(others)}


def sort_statements(calls: Mapping[str, int]) -> dict[str, float]:
    """Of statements and how often each was executed: those that read or write, those that only
    begin and end transactions, and of these the commits."""
    control = sum(count for query, count in calls.items() if CONTROL.match(query))
    return {
        "statements": float(sum(calls.values()) - control),
        "transaction statements": float(control),
        "commits": float(sum(count for query, count in calls.items() if COMMIT.match(query))),
    }


def read_overview(text: str) -> tuple[float, float]:
    """When RabbitMQ counted, in seconds since 1970, and the messages that it had taken.

    :param text: what ``rabbitmqctl eval`` printed of `OVERVIEW`
    :raises ValueError: it is something else
    """
    moment, received = MICROSECONDS.search(text), RECEIVED.findall(text)
    if moment is None or not received:
        raise ValueError(f"RabbitMQ's counters cannot be read: {text[:200]}")
    return int(moment[1]) / 1e6, float(sum(map(int, received)))
