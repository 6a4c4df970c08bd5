"""A drain of real guests while parts of a cloud die: ``python -m tests.faults.drained --dir DIR``.

Fills a host with guests, drains it to two others with four at once, and kills a conductor, an
agent and the broker in the middle. Prints what became of it; exits 1 when a machine was moved
twice, has no verdict or does not run.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from tests.faults import check
from tests.faults.client import Client
from tests.faults.cloud import FaultCloud
from tests.faults.drains import DRAINS, VERB, check_drains
from tests.faults.history import History, Request
from tests.faults.ledger import read_ledger
from tests.faults.load import COMPUTE, FLAVOR, Load
from tests.faults.run import RATES, running

SOURCE, ZONE = "h1", "az1"
AT_ONCE = 4
VICTIMS = ("conductor-c1", "compute-h2", "rabbitmq")
"""Who is killed, one after the other, each when a further quarter of the machines has moved."""
PATIENCE_SECONDS = 1800.0
POLL_SECONDS = 1.0
ENDED = ("completed", "failed", "cancelled")


class Drained:
    """Fills and drains a host of a cloud that runs.

    :param client: an administrator's
    """

    def __init__(self, cloud: FaultCloud, client: Client, guests: int) -> None:
        self._cloud = cloud
        self._client = client
        self._guests = guests
        self._asked: list[Request] = []

    def run(self) -> dict[str, Any]:
        """What became of it."""
        self._join_zones()
        booted = self._timed(self._fill)
        drain, killed = {}, []

        def drain_all() -> None:
            nonlocal drain, killed
            drain, killed = self._drain()

        took = self._timed(drain_all)
        found = self._settled()
        seconds = [one["seconds"] for one in drain["machines"]]
        return {
            "guests": self._guests,
            "seconds to fill the host": round(booted, 1),
            "killed": killed,
            "status": drain["status"],
            "verdicts": dict(Counter(one["verdict"] for one in drain["machines"])),
            "seconds": round(took, 1),
            "seconds of a machine": {
                "median": round(median(seconds), 1), "longest": max(seconds),
            },
            "hosts": dict(Counter(one["host"] for one in drain["machines"])),
            "states": dict(Counter(row["vm_state"] for row in self._ledger().living.values())),
            "wrong": found,
        }  # fmt: skip

    def _join_zones(self) -> None:
        """Let all hosts be in one zone."""
        wanted = {"aggregate": {"name": "all", "availability_zone": ZONE}}
        made = self._ask("POST", f"{COMPUTE}/os-aggregates", wanted)["aggregate"]
        path = f"{COMPUTE}/os-aggregates/{made['id']}/action"
        self._ask("POST", path, {"add_host": {"host": "h3"}})

    def _fill(self) -> None:
        image = self._client.read("/image/v2/images?name=paddock-guest")["images"][0]["id"]
        for number in range(self._guests):
            server = {
                "name": f"g{number}", "imageRef": image, "flavorRef": FLAVOR, "networks": "auto",
                "min_count": 1, "max_count": 1, "host": SOURCE,
            }  # fmt: skip
            made = self._client.change("POST", f"{COMPUTE}/servers", {"server": server}, "create")
            assert made.status == 202, made.tries
            self._asked.append(made)
        self._until(lambda: not any(row["busy"] for row in self._ledger().living.values()))

    def _drain(self) -> tuple[dict[str, Any], list[str]]:
        wanted = {"host": SOURCE, "reason": "a disk fails", "max_parallel": AT_ONCE}
        made = self._client.change("POST", DRAINS, wanted, VERB)
        assert made.status == 202, made.tries
        self._asked.append(made)
        path = f"{DRAINS}/{made.tries[-1].answer['drain']['id']}"
        begun, killed = time.monotonic(), []
        drain: dict[str, Any] = {"status": "running"}
        while drain["status"] not in ENDED:
            assert time.monotonic() < begun + PATIENCE_SECONDS, drain
            time.sleep(POLL_SECONDS)
            drain = (self._client.read(path) or {"drain": drain})["drain"]
            done = drain.get("counts", {}).get("moved", 0)
            if len(killed) < len(VICTIMS) and done >= (len(killed) + 1) * self._guests // 4:
                victim = VICTIMS[len(killed)]
                self._cloud.signal(victim, signal.SIGKILL)
                killed.append(f"{victim} after {time.monotonic() - begun:.0f} s, {done} moved")
                print(killed[-1], flush=True)
        return drain, killed

    def _settled(self) -> list[str]:
        """What is wrong once all has come to rest, or a minute has passed."""
        end = time.monotonic() + 60.0
        while (found := self._look()) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return found

    def _look(self) -> list[str]:
        ledger = self._ledger()
        inventories = {name: host.inventory() for name, host in self._cloud.fleet.hosts.items()}
        return [
            *check_drains(self._asked, ledger),
            *check.check_rest(ledger),
            *check.check_once(self._asked, ledger),
            *check.check_hosts(ledger, inventories),
            *check.check_boots(ledger, inventories),
            *self._cloud.check(),
        ]

    def _ledger(self) -> Any:
        with self._cloud.connect() as connection:
            return read_ledger(connection)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        answer = self._client.ask(method, path, body)
        assert answer is not None, f"{method} {path}"
        return answer

    @staticmethod
    def _until(is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < end
            time.sleep(POLL_SECONDS)

    @staticmethod
    def _timed(function: Callable[[], None]) -> float:
        begun = time.monotonic()
        function()
        return time.monotonic() - begun


def main() -> int:
    """Run it and print what became of it."""
    parser = argparse.ArgumentParser(prog="tests.faults.drained", description=__doc__)
    parser.add_argument("--guests", type=int, default=30)
    parser.add_argument("--driver", choices=sorted(RATES), default="libvirt")
    parser.add_argument("--dir", type=Path, required=True, help="all files lie below it")
    wanted = parser.parse_args()
    directory = wanted.dir.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    with running(directory, wanted.driver, quick=False, keep=False) as cloud:
        load = Load(cloud.place.clouds, History(0, wanted.driver), RATES[wanted.driver], 0)
        found = Drained(cloud, load.admin, wanted.guests).run()
    print(json.dumps(found, indent=1))
    well = found["verdicts"] == {"moved": wanted.guests} and not found["wrong"]
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
