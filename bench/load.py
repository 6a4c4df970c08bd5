"""Load: mixed actions, many servers, many hosts, a burst of creates, slow clients.

    .venv/bin/python -m bench.load [mixed] [servers] [hosts] [burst] [slow] [--minutes M] [--json]

Each part starts a cloud of its own (RabbitMQ, PostgreSQL, API, two conductors, agents with the
fake driver), measures, checks the ledger and removes it. Exits 1 when a check found anything wrong.
"""

import argparse
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from paddock import runtime

runtime.choose()

from bench.beats import beats_per_second  # noqa: E402
from bench.cloud import ask_database, check, memory, running  # noqa: E402
from bench.users import Account, User, percentile, sign_in  # noqa: E402
from devstack.local import LocalCloud  # noqa: E402

Figures = dict[str, Any]
HOSTS = ("h1", "h2")
USERS = 8
SERVERS_EACH = 4
NEXT = {
    "ACTIVE": ("pause", "suspend", "os-stop", "vm-poweroff", "reboot"),
    "PAUSED": ("unpause",),
    "SUSPENDED": ("resume",),
    "SHUTOFF": ("os-start",),
}
BODIES = {"reboot": {"type": "HARD"}, "vm-poweroff": {}}
FIRST_LOOK, LAST_LOOK = 0.2, 1.0
LATENCIES = """
    SELECT verb, extract(epoch FROM finished_at - created_at)::float8 FROM actions
    WHERE status = 'succeeded'
"""
CREATED = """
    SELECT extract(epoch FROM max(finished_at) - min(created_at))::float8 FROM actions
    WHERE verb = 'create'
"""
LIVE = "SELECT count(*) FROM actions WHERE status IN ('accepted', 'running')"
OVERCOMMITTED = "SELECT count(*) FROM hosts WHERE claimed_memory_mb > memory_mb"
MANY_SERVERS = 2000
BATCH = 100
MANY_HOSTS = 10
BURST = 500
ROOM = 300
"""Of the burst's servers so many have room; one is 128 MiB."""
SLOW_CLIENTS = 50
ASKED = 200


def mixed(minutes: float) -> Figures:
    """Users act on their own servers, one action after another."""
    with running(HOSTS) as cloud:
        account = sign_in(cloud)
        ended = threading.Event()
        with ThreadPoolExecutor(USERS) as pool:
            users = [pool.submit(_use, account, number, ended) for number in range(USERS)]
            sizes = []
            for pause in (FIRST_LOOK, LAST_LOOK - FIRST_LOOK):
                time.sleep(minutes * 60 * pause)
                sizes.append(memory(cloud))
            ended.set()
            for user in users:
                user.result()
        rows = ask_database(cloud, LATENCIES)
        wrong = check(cloud)
    first, last = sizes
    return {
        "actions": len(rows),
        "actions per second": round(len(rows) / (minutes * 60), 1),
        "milliseconds": _latencies(rows),
        "memory after a fifth, MiB": {name: size >> 20 for name, size in first.items()},
        "growth since, %": {
            name: round(100 * (last[name] / first[name] - 1), 1) for name in first if name in last
        },
        "wrong": wrong,
    }


def servers() -> Figures:
    """Two thousand servers on ten hosts."""
    hosts = [f"h{number}" for number in range(1, MANY_HOSTS + 1)]
    with running(hosts) as cloud:
        user = User(sign_in(cloud))
        refused = sum(user.create_at_last(BATCH) for _ in range(MANY_SERVERS // BATCH))
        _await_quiet(cloud)
        took = ask_database(cloud, CREATED)[0][0]
        page = [user.ask("GET", "/servers/detail?limit=1000").seconds for _ in range(5)]
        one = user.ask("GET", "/servers?limit=1").document["servers"][0]["id"]
        show = [user.ask("GET", f"/servers/{one}").seconds for _ in range(50)]
        return {
            "servers": user.servers(),
            "asked again after 503": refused,
            "creates per second": round(MANY_SERVERS / took, 1),
            "list of 1,000 in detail, ms": _milliseconds(page),
            "show, ms": _milliseconds(show),
            "memory, MiB": {name: size >> 20 for name, size in memory(cloud).items()},
            "wrong": check(cloud),
        }


def hosts() -> Figures:
    """How many heartbeats a second the conductors take, and so how many hosts."""
    names = [f"s{number}" for number in range(1, 17)]
    with running(HOSTS, others=names) as cloud:
        rate, used = beats_per_second(cloud, names)
        return {
            "heartbeats per second": round(rate, 1),
            "conductors' CPU per heartbeat, ms": round(1000 * used, 2),
            "hosts at an interval of 3 s": int(rate * 3),
        }


def burst() -> Figures:
    """Five hundred creates at once, of which three hundred fit."""
    room = {"compute": {"memory_mb": ROOM * 128 // len(HOSTS), "reserved_memory_mb": 0}}
    with running(HOSTS, agents=room) as cloud:
        account = sign_in(cloud)
        with ThreadPoolExecutor(BURST) as pool:
            answers = list(pool.map(lambda _: User(account).create(), range(BURST)))
        _await_quiet(cloud)
        states = ask_database(cloud, "SELECT vm_state, count(*) FROM instances GROUP BY 1")
        refusals = {
            answer.document[kind]["message"][:60]
            for answer in answers if answer.status != 202 for kind in answer.document
        }  # fmt: skip
        return {
            "answers": dict(Counter(answer.status for answer in answers)),
            "slowest answer, s": round(max(answer.seconds for answer in answers), 1),
            "refusals": sorted(refusals)[:3],
            "servers by state": dict(states),
            "overcommitted hosts": ask_database(cloud, OVERCOMMITTED)[0][0],
            "wrong": check(cloud),
        }


def slow() -> Figures:
    """Fifty clients that send a byte a second, and what others notice of them."""
    with running(HOSTS) as cloud:
        account = sign_in(cloud)
        user = User(account)
        before = [user.ask("GET", "/servers").seconds for _ in range(ASKED)]
        with _slow_clients(account):
            during = [user.ask("GET", "/servers").seconds for _ in range(ASKED)]
    return {"list alone, ms": _milliseconds(before), "beside them, ms": _milliseconds(during)}


PARTS: dict[str, Callable[[], Figures]] = {
    "servers": servers, "hosts": hosts, "burst": burst, "slow": slow,
}  # fmt: skip


def _use(account: Account, number: int, ended: threading.Event) -> None:
    source, user = random.Random(number), User(account)
    answer = user.create(SERVERS_EACH, return_reservation_id=True)
    listed = user.ask("GET", f"/servers?reservation_id={answer.document['reservation_id']}")
    mine = [one["id"] for one in listed.document["servers"]]
    while not ended.is_set():
        server = source.choice(mine)
        user.wait(server)
        status = user.ask("GET", f"/servers/{server}").document["server"]["status"]
        verb = source.choice(NEXT[status])
        user.act(server, verb, BODIES.get(verb))
        user.wait(server)


def _latencies(rows: list[tuple[Any, ...]]) -> Figures:
    by_verb: dict[str, list[float]] = {}
    for verb, seconds in rows:
        by_verb.setdefault(verb, []).append(seconds)
    return {verb: _milliseconds(values) for verb, values in sorted(by_verb.items())}


def _milliseconds(values: list[float]) -> Figures:
    return {
        f"p{share}": round(1000 * percentile(values, share / 100), 1) for share in (50, 99)
    }  # fmt: skip


def _await_quiet(cloud: LocalCloud) -> None:
    end = time.monotonic() + 300
    while ask_database(cloud, LIVE)[0][0]:
        if time.monotonic() > end:
            raise TimeoutError("actions are still going on after five minutes")
        time.sleep(0.2)


@contextmanager
def _slow_clients(account: Account) -> Iterator[None]:
    ended = threading.Event()

    def drip() -> None:
        request = b"GET /compute/v2.1/servers HTTP/1.1\r\nHost: here\r\nX-Slow: " + b"x" * 1000
        with socket.create_connection(account.address, timeout=10) as connection:
            for byte in request:
                connection.send(bytes([byte]))
                if ended.wait(1.0):
                    return

    threads = [threading.Thread(target=drip) for _ in range(SLOW_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1.0)
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that are named, or all, and print their figures; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"mixed, {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long mixed goes on")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    wanted = parser.parse_args(argv)
    parts = {"mixed": lambda: mixed(wanted.minutes), **PARTS}
    if unknown := sorted(set(wanted.parts) - set(parts)):
        parser.error(f"there is no part {unknown[0]}, only {', '.join(parts)}")
    found = {}
    for name in wanted.parts or parts:
        found[name] = parts[name]()
        if not wanted.json:
            print(f"{name}: {json.dumps(found[name], indent=2)}", flush=True)
    if wanted.json:
        print(json.dumps(found, indent=2))
    return 1 if any(figures.get("wrong") for figures in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
