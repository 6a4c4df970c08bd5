"""Engines for the three databases, with a limit on everything that waits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import QueuePool, StaticPool

RECYCLE_SECONDS = 1800
NO_FILE = (None, "", ":memory:")
_IMMEDIATE = "paddock_immediate"


def make_engines(url: str | URL, pool_size: int, timeout: float) -> tuple[sa.Engine, sa.Engine]:
    """One engine for transactions that write and one for reads, over the same connections.

    Writers have READ COMMITTED, or the one write lock of SQLite from their first statement on.
    Readers see what is committed at each statement (one snapshot with SQLite) and take no lock.

    :param url: of SQLite, PostgreSQL (psycopg) or MariaDB (PyMySQL)
    :param pool_size: connections open at once
    :param timeout: seconds to wait for a connection or a statement; for a lock half of it, so that
        a repetition still fits in
    :raises ValueError: the URL is of another database
    """
    parsed = make_url(url)
    makers = {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mariadb, "mariadb": _mariadb}
    if parsed.get_backend_name() not in makers:
        raise ValueError(
            "[database] connection must begin with sqlite:, postgresql+psycopg: or mysql+pymysql:"
        )
    return makers[parsed.get_backend_name()](parsed, pool_size, timeout)


def in_memory(engine: sa.Engine) -> bool:
    """Whether all users of the engine share one connection."""
    return isinstance(engine.pool, StaticPool)


def sqlite_file(url: str) -> Path | None:
    """Where a database of SQLite lies; None for one in memory and for others."""
    parsed = make_url(url)
    in_file = parsed.get_backend_name() == "sqlite" and parsed.database not in NO_FILE
    return Path(str(parsed.database)) if in_file else None


def _pool(pool_size: int, timeout: float) -> dict[str, Any]:
    return {
        "poolclass": QueuePool,
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": timeout,
        "pool_recycle": RECYCLE_SECONDS,
        "pool_use_lifo": True,
    }


def _sqlite(url: URL, pool_size: int, timeout: float) -> tuple[sa.Engine, sa.Engine]:
    pool = _pool(pool_size, timeout)
    if url.database in NO_FILE:
        pool = {"poolclass": StaticPool}
    else:
        _create_private(Path(str(url.database)))
    engine = sa.create_engine(
        url,
        # The driver begins no transactions of its own, see _begin; it waits for locks in C.
        connect_args={"timeout": timeout, "isolation_level": None, "check_same_thread": False},
        hide_parameters=True,
        json_deserializer=_read_json,
        **pool,
    )
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    return engine.execution_options(**{_IMMEDIATE: True}), engine


def _read_json(text: str | bytes) -> Any:
    try:
        return msgspec.json.decode(text)  # in a fifth of the time
    except msgspec.DecodeError:  # NaN, which only Python writes and reads
        return json.loads(text)


def _create_private(path: Path) -> None:
    """SQLite's files get the mode of the database's; it holds password hashes."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA case_sensitive_like = ON")  # as the other databases have it


def _begin(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _postgresql(url: URL, pool_size: int, timeout: float) -> tuple[sa.Engine, sa.Engine]:
    from conductor.db.cursor import Cursor  # whose library no other database needs

    settings = {
        "default_transaction_isolation": "read\\ committed",
        "statement_timeout": f"{timeout * 1000:.0f}",
        "lock_timeout": f"{timeout * 500:.0f}",
        "idle_in_transaction_session_timeout": f"{timeout * 2000:.0f}",
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={
            "connect_timeout": max(2, round(timeout)),
            "options": options,
            "cursor_factory": Cursor,
        },
        hide_parameters=True,
        json_deserializer=_read_json,
        **_pool(pool_size, timeout),
    )
    # At READ COMMITTED every statement has its own snapshot, so reads need no BEGIN and ROLLBACK.
    return engine, engine.execution_options(isolation_level="AUTOCOMMIT")


def _mariadb(url: URL, pool_size: int, timeout: float) -> tuple[sa.Engine, sa.Engine]:
    settings = {
        "innodb_lock_wait_timeout": f"{max(1, round(timeout / 2))}",
        "lock_wait_timeout": f"{max(1, round(timeout / 2))}",
        "max_statement_time": f"{timeout}",
        "time_zone": "'+00:00'",
    }
    seconds = max(2, round(timeout))
    engine = sa.create_engine(
        url.set(drivername="mysql+pymysql"),
        isolation_level="READ COMMITTED",
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": seconds,
            "read_timeout": seconds + 1,
            "write_timeout": seconds + 1,
            "init_command": "SET "
            + ", ".join(f"{name}={value}" for name, value in settings.items()),
        },
        hide_parameters=True,
        json_deserializer=_read_json,
        **_pool(pool_size, timeout),
    )
    return engine, engine
