"""What a database's error means for the transaction: by the codes of each database."""

from __future__ import annotations

import enum

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Trouble(enum.Enum):
    """REPEAT: nothing was done, doing it again may work. LOST: the database does not answer."""

    REPEAT = enum.auto()
    LOST = enum.auto()


# SQLite's result codes: busy, locked | read-only, I/O error, full, cannot open.
_SQLITE_REPEAT = {5, 6}
_SQLITE_LOST = {8, 10, 13, 14}

# SQLSTATEs: serialisation failure, deadlock, lock not available | the rest of class 40 and, by
# their first characters: connection, resources, operator (also a statement's timeout), system;
# and a transaction on a standby.
_POSTGRESQL_REPEAT = {"40001", "40P01", "55P03"}
_POSTGRESQL_LOST = ("08", "53", "57", "58", "25006")

# MariaDB's numbers: deadlock, lock wait timeout, row changed since the snapshot | too many
# connections, shutdown, network, read-only server, interrupted, killed, statement timeout;
# PyMySQL's own are 0 and 2000 to 2099.
_MARIADB_REPEAT = {1213, 1205, 1020}
_MARIADB_LOST = {
    0, 1040, 1041, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1290, 1317, 1927, 1969,
    *range(2000, 2100),
}  # fmt: skip


def judge(error: SQLAlchemyError) -> Trouble | None:
    """What an error means; None for an error of the statement itself.

    An error while a savepoint is undone stands for the one that it hides: a deadlock takes
    MariaDB's savepoints with it.
    """
    seen: BaseException | None = error
    found: Trouble | None = None
    while seen is not None and found is not Trouble.REPEAT:
        found = _judge_one(seen) or found
        seen = seen.__context__
    return found


def _judge_one(error: BaseException) -> Trouble | None:
    if isinstance(error, PoolTimeout):
        return Trouble.LOST
    if not isinstance(error, DBAPIError):
        return None
    if error.connection_invalidated:
        return Trouble.LOST
    return _judge_code(error.orig)


def _judge_code(cause: BaseException | None) -> Trouble | None:
    module = type(cause).__module__.split(".")[0]
    if module == "sqlite3":
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        return _pick(code in _SQLITE_REPEAT, code in _SQLITE_LOST)
    if module == "psycopg":
        state = getattr(cause, "sqlstate", None)
        broken = state is None and type(cause).__name__ in ("OperationalError", "ConnectionTimeout")
        return _pick(
            state in _POSTGRESQL_REPEAT, broken or (state or "").startswith(_POSTGRESQL_LOST)
        )
    number = cause.args[0] if cause is not None and cause.args else None
    return _pick(number in _MARIADB_REPEAT, number in _MARIADB_LOST)


def _pick(repeat: bool, lost: bool) -> Trouble | None:
    if repeat:
        return Trouble.REPEAT
    return Trouble.LOST if lost else None
