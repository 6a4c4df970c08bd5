"""A round: load, faults, healing, and whether everything is well again."""

from __future__ import annotations

import datetime
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from devstack.control_plane import CONDUCTORS
from devstack.say import say
from tests.faults import check, drains
from tests.faults.cloud import FaultCloud
from tests.faults.fault import HOSTS, Fault
from tests.faults.history import Event, History
from tests.faults.ledger import Ledger, read_ledger
from tests.faults.load import Load
from tests.faults.patience import Patience
from tests.faults.reading import Readers
from tests.faults.table import Deck

SPREAD_SECONDS = 10.0
"""Within which the faults of a round begin."""
LONGEST_WAIT = 300.0
"""For what a drain tries again after a pause."""
AFTER_SECONDS = 5.0
REAPER_SECONDS = 5.0
"""After its deadline an action has failed within so many seconds."""
SHOWN = 8
TOPICS = ("conductor-api", "conductor-agent")
QUEUES = {
    **dict.fromkeys(TOPICS, ""),
    **{f"{topic}.{name}": name for topic in TOPICS for name in CONDUCTORS},
    **{f"compute.{name}{own}": name for name in HOSTS for own in ("", f".{name}")},
}
"""Each queue that somebody listens to, and who."""
REPLIES = re.compile(
    rf"reply_(({'|'.join(HOSTS)}):agent|({'|'.join(CONDUCTORS)}):conductor|api:api):\d+"
)


class Rounds:
    """Runs rounds on a running cloud.

    :ivar history: of all of them
    """

    def __init__(self, cloud: FaultCloud, load: Load, history: History, deck: Deck) -> None:
        self._cloud = cloud
        self._load = load
        self.history = history
        self._deck = deck
        self._readers = Readers([load.user, load.admin])

    def run(self, number: int) -> list[str]:
        """One round; gives the violations, and keeps them also when it breaks off."""
        faults = self._deck.deal()
        violations: list[str] = []
        begun, settled = time.time(), 0.0
        try:
            self._load.begin(number)
            self._let_happen(number, faults, violations)
            patience = Patience(self._cloud.pace.settle_seconds)
            time.sleep(self._cloud.pace.seconds(AFTER_SECONDS))
            lasting = [fault for fault in faults if fault.lasting]
            dead = [fault.subject for fault in lasting]
            violations += self._settle(number, patience, dead)
            settled = patience.settled
            for fault in lasting:
                self._end(fault, violations)
            if lasting:
                patience = Patience(self._cloud.pace.settle_seconds)
                violations += self._settle(number, patience, [])
                settled = max(settled, patience.settled)
        finally:
            self._note(number, begun, settled, faults, violations)
        return violations

    # --- faults

    def _let_happen(self, number: int, faults: list[Fault], broken: list[str]) -> None:
        threads = [
            threading.Thread(target=self._one, args=(number, fault, broken), name=fault.name)
            for fault in faults
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one(self, number: int, fault: Fault, broken: list[str]) -> None:
        spread = self._cloud.pace.seconds(SPREAD_SECONDS)
        time.sleep(self._load.rate.warm_up + fault.chance.uniform(0.0, spread))
        event = Event(number, fault.name, fault.subject)
        self.history.add_event(event)
        event.healed = float("inf")
        try:
            fault.inject()
            event.detail = fault.detail
            time.sleep(fault.seconds)
        except Exception as error:
            broken.append(f"{fault.name} of {fault.subject}: {type(error).__name__}: {error}")
        fault.event = event
        if not fault.lasting:
            self._end(fault, broken)

    def _end(self, fault: Fault, broken: list[str]) -> None:
        try:
            fault.heal()
        except Exception as error:
            broken.append(f"{fault.name} of {fault.subject}: {type(error).__name__}: {error}")
        fault.event.healed = time.time()
        fault.event.detail, fault.event.missed = fault.detail, fault.missed

    # --- afterwards

    def _settle(self, number: int, patience: Patience, dead: list[str]) -> list[str]:
        """Wait until all is well, or say what is not."""
        self._load.stop()
        self._load.drain(patience.left)
        found = patience.until_well(lambda: self._look(number, patience, dead))
        requests = self.history.of_round(number)
        if not found:
            found = self._readers.check(requests, self.read_ledger(), number)
        answers = check.check_answers(self.history.of_round(number), self.history.events)
        broken, self._load.broken = self._load.broken, []
        return [*broken, *answers, *found]

    def _look(self, number: int, patience: Patience, dead: list[str]) -> list[str]:
        try:
            return self._look_at_state(number, patience, dead) or self._look_at_cloud(dead)
        except (OSError, psycopg.Error, RuntimeError, subprocess.TimeoutExpired) as error:
            return [f"the cloud cannot be looked at: {error}"]

    def _look_at_cloud(self, dead: list[str]) -> list[str]:
        with ThreadPoolExecutor(1) as pool:  # each takes seconds
            lines = pool.submit(self._cloud.queues, *check.QUEUE_COLUMNS)
            said = self._cloud.check(dead)
            return [*said, *check.check_queues(lines.result(), QUEUES, REPLIES, dead)]

    def _look_at_state(self, number: int, patience: Patience, dead: list[str]) -> list[str]:
        ledger = self.read_ledger()
        self._wait_for_drains(ledger, patience)
        if dead and (left := check.seconds_left(ledger)):
            patience.extend(left + REAPER_SECONDS)
        found = {
            name: host.inventory()
            for name, host in self._cloud.fleet.hosts.items()
            if name not in dead
        }
        requests = self.history.of_round(number)
        return [
            *check.check_rest(ledger),
            *check.check_outcomes(requests, ledger),
            *check.check_once(self.history.requests, ledger),
            *check.check_hosts(ledger, found, dead),
            *check.check_boots(ledger, found),
            *([] if dead else drains.check_drains(self.history.requests, ledger)),
        ]

    def _wait_for_drains(self, ledger: Ledger, patience: Patience) -> None:
        """What a drain is to try again later may still go on, for a while."""
        wait = drains.waits(ledger, datetime.datetime.now(datetime.UTC).replace(tzinfo=None))
        if wait:
            patience.extend(min(wait, LONGEST_WAIT) + SPREAD_SECONDS)

    def read_ledger(self) -> Ledger:
        """What the ledger holds now."""
        with self._cloud.connect() as connection:
            return read_ledger(connection)

    def _note(
        self, number: int, begun: float, settled: float, faults: list[Fault], violations: list[str]
    ) -> None:
        requests = self.history.of_round(number)
        row: dict[str, Any] = {
            "number": number,
            "faults": [f"{fault.name} {fault.subject}" for fault in faults],
            "requests": len(requests),
            "accepted": sum(one.changes and one.status in check.ACCEPTED for one in requests),
            "seconds": round(time.time() - begun, 1),
            "settled_seconds": round(settled, 1),
            "violations": violations,
        }
        self.history.rounds.append(row)
        what = ", ".join(f"{fault.name} {fault.subject} {fault.detail}".strip() for fault in faults)
        say(
            f"round {number}: {what}: {row['requests']} requests, {row['accepted']} accepted, "
            f"{row['seconds']} s, settled in {row['settled_seconds']} s, "
            f"{len(violations)} violations"
        )
        for violation in violations[:SHOWN]:
            say(f"    {violation}")

    def note_instances(self) -> None:
        """Put the final state of each instance into the history, as ledger and hosts see it."""
        ledger = self.read_ledger()
        found = {name: host.inventory() for name, host in self._cloud.fleet.hosts.items()}
        for key, row in ledger.instances.items():
            hosts = {
                name: {
                    "guest": one.guests.get(key),
                    "disks": [generation for owner, generation in one.disks if owner == key],
                    "boots": one.boots.get(key),
                }
                for name, one in found.items()
                if key in one.guests or any(owner == key for owner, _ in one.disks)
            }
            self.history.instances.append({"ledger": row, "hosts": hosts})
