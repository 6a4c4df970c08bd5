"""When actions began and ended, as their own table says."""

import datetime
import statistics
import time
from dataclasses import dataclass

import sqlalchemy as sa

LOOK_SECONDS = 0.004
PATIENCE_SECONDS = 120.0
LIVE = sa.text("SELECT count(*) FROM actions WHERE status IN ('accepted', 'running')")
SINCE = sa.text(
    "SELECT verb, status, created_at, finished_at FROM actions WHERE created_at >= :since"
)


@dataclass(frozen=True)
class Batch:
    """Actions that were asked for together: when each was accepted and when it had ended."""

    times: list[tuple[datetime.datetime, datetime.datetime]]

    @property
    def milliseconds(self) -> float:
        """The median of their durations."""
        return statistics.median((end - begin).total_seconds() * 1000 for begin, end in self.times)

    @property
    def rate(self) -> float:
        """Actions a second, from the first accepted to the last ended."""
        begun, ended = min(begin for begin, _ in self.times), max(end for _, end in self.times)
        return len(self.times) / (ended - begun).total_seconds()


class Ledger:
    """Reads a table of actions: the cloud's, or the floor's, which has the same columns.

    :param url: the database's; its user must not be the one whose statements are counted
    """

    def __init__(self, url: sa.URL) -> None:
        self._engine = sa.create_engine(
            url, isolation_level="AUTOCOMMIT", pool_size=1, connect_args={"connect_timeout": 10}
        )

    def await_quiet(self, look: float = LOOK_SECONDS) -> None:
        """Until no action is going on.

        :param look: seconds from look to look
        :raises TimeoutError: some still are after two minutes
        """
        end = time.monotonic() + PATIENCE_SECONDS
        with self._engine.connect() as connection:
            while connection.execute(LIVE).scalar_one():
                if time.monotonic() > end:
                    raise TimeoutError("actions are still going on after two minutes")
                time.sleep(look)

    def since(self, moment: datetime.datetime, count: int) -> Batch:
        """The actions accepted since then.

        :param count: how many there must be
        :raises RuntimeError: there are others, or one did not succeed
        """
        with self._engine.connect() as connection:
            rows = connection.execute(SINCE, {"since": moment}).all()
        failed = [f"{row.verb} {row.status}" for row in rows if row.status != "succeeded"]
        if failed or len(rows) != count:
            raise RuntimeError(f"{len(rows)} actions instead of {count}; not well: {failed[:3]}")
        return Batch([(row.created_at, row.finished_at) for row in rows])

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def now() -> datetime.datetime:
    """The time as the ledger writes it; the database's clock is this machine's."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
