"""What draining a host of many machines costs: python -m bench.drain [--machines N] [--json]

Starts a cloud of its own (RabbitMQ, PostgreSQL, API, two conductors, agents with the fake driver),
fills one host, drains it to six others while nothing else is asked, checks the ledger and removes
all. What the same cloud counts while it is idle is taken off.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
import uuid
from typing import Any

from paddock import runtime

runtime.choose()

from bench.cloud import ask_database, check, running  # noqa: E402
from bench.counters import SETTINGS, Counters  # noqa: E402
from bench.users import User, sign_in  # noqa: E402
from devstack.local import LocalCloud  # noqa: E402

Figures = dict[str, Any]
SOURCE = "h1"
TARGETS = tuple(f"h{number}" for number in range(2, 8))
AT_ONCE = 12
"""Two come to one host at once."""
ROOM = {"zone": "az1", "vcpus": 4096, "memory_mb": 1 << 20, "disk_gb": 1 << 14}
BATCH = 50
BUSY = 503
IDLE_SECONDS = 20.0
SETTLE_SECONDS = 5.0
POLL_SECONDS = 1.0
LONGEST_SECONDS = 3600.0
SHOWN = 5
LIVE = "SELECT count(*) FROM actions WHERE status IN ('accepted', 'running')"
STATUS = "SELECT status FROM drains"
VERDICTS = "SELECT verdict, count(*) FROM drain_machines GROUP BY 1"
TIMES = """
    SELECT extract(epoch FROM ended_at - begun_at)::float8 FROM drain_machines
    WHERE verdict = 'moved'
"""
TWICE = """
    SELECT count(*) FROM (SELECT instance_id FROM actions
        WHERE verb = 'migrate' AND status = 'succeeded' GROUP BY 1 HAVING count(*) > 1) AS twice
"""
PARTS = {
    "API": "cpu.api", "conductors": "cpu.conductor", "RabbitMQ": "cpu.rabbitmq",
    "PostgreSQL": "cpu.postgres",
}  # fmt: skip
PADDOCK = ("API", "conductors")


def drain(machines: int) -> Figures:
    """Fill a host, drain it and count."""
    options = {"compute": ROOM}
    hosts = (SOURCE, *TARGETS)
    settings = SETTINGS["postgresql"]
    with running(hosts, agents=options, database_settings=settings) as cloud:
        user = User(sign_in(cloud))
        _fill(cloud, user, machines)
        with contextlib.closing(Counters(cloud)) as counters:
            time.sleep(SETTLE_SECONDS)
            with counters.during() as idle:
                time.sleep(IDLE_SECONDS)
            begun = time.monotonic()
            with counters.during() as busy:
                drain_id = _begin(user)
                _await_end(cloud)
                took = time.monotonic() - begun
        counted = busy.counts.without(idle.counts)
        shown = [user.ask("GET", f"/drains/{drain_id}").seconds for _ in range(SHOWN)]
        (times,) = zip(*ask_database(cloud, TIMES), strict=True)
        return {
            "machines": machines,
            "at once": AT_ONCE,
            "verdicts": dict(ask_database(cloud, VERDICTS)),
            "moved twice": ask_database(cloud, TWICE)[0][0],
            "s": round(took, 1),
            "machines per second": round(machines / took, 2),
            "seconds of a machine, median": round(statistics.median(times), 1),
            "CPU per machine, ms": _cpu(counted, machines),
            "per machine": {
                name: round(counted[name] / machines, 1)
                for name in ("statements", "transaction statements", "commits", "messages")
            },
            "show, ms": round(1000 * statistics.median(shown), 1),
            "wrong": check(cloud),
        }


def _fill(cloud: LocalCloud, user: User, machines: int) -> None:
    for first in range(0, machines, BATCH):
        count = min(BATCH, machines - first)
        answer = user.create(count, host=SOURCE)
        assert answer.status == 202, answer.document
    _until(lambda: ask_database(cloud, LIVE)[0][0] == 0)


def _begin(user: User) -> str:
    wanted, key = {"host": SOURCE, "max_parallel": AT_ONCE}, str(uuid.uuid4())
    while (answer := user.ask("POST", "/drains", wanted, key)).status == BUSY:
        time.sleep(POLL_SECONDS)
    assert answer.status == 202, answer.document
    return str(answer.document["drain"]["id"])


def _await_end(cloud: LocalCloud) -> None:
    _until(lambda: ask_database(cloud, STATUS)[0][0] in ("completed", "failed"))


def _until(is_so: Any) -> None:
    end = time.monotonic() + LONGEST_SECONDS
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("it goes on after an hour")
        time.sleep(POLL_SECONDS)


def _cpu(counted: Any, machines: int) -> dict[str, float]:
    parts = {
        part: sum(value for name, value in counted.items() if name.startswith(prefix))
        for part, prefix in PARTS.items()
    }
    every = {
        **parts,
        "API and conductors": sum(parts[part] for part in PADDOCK),
        "control plane": sum(parts.values()),
        "agents": sum(value for name, value in counted.items() if name.startswith("cpu.compute")),
    }
    return {name: round(1000 * value / machines, 1) for name, value in every.items()}


def main() -> int:
    """Measure and print; 1 when a machine was moved twice, has no verdict or did not move."""
    parser = argparse.ArgumentParser(prog="python -m bench.drain", description=__doc__)
    parser.add_argument("--machines", type=int, default=1000, metavar="N", help="1000")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    wanted = parser.parse_args()
    figures = drain(wanted.machines)
    if wanted.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name}: {json.dumps(value)}")
    well = figures["verdicts"] == {"moved": wanted.machines}
    return 0 if well and not figures["moved twice"] and not figures["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
