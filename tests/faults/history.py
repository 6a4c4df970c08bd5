"""What happened in a run: every request with its answers, every fault, every look at the end."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

UNDECIDED = (401, 503)
"""Answers after which a client asks again: they say nothing of the request itself."""


@dataclass
class Try:
    """One time that a request was sent.

    :ivar at: seconds since 1970
    :ivar seconds: until its answer
    :ivar status: 0 when the connection broke, -1 when no answer came in time
    :ivar request_id: by which its answer is found again
    """

    at: float
    seconds: float
    status: int
    retry_after: str | None
    answer: Any
    request_id: str = ""


@dataclass
class Request:
    """One wish of a client, under one key however often it is sent.

    :ivar project: the id of the project whose key it is
    :ivar done: whether it got an answer other than a 503
    """

    key: str
    method: str
    path: str
    body: Any
    verb: str
    user: str
    project: str
    round: int
    tries: list[Try] = field(default_factory=list)
    done: bool = False

    @property
    def status(self) -> int:
        """That of the first answer that says what became of it; 503 or 0 while there is none."""
        said = [one.status for one in self.tries if one.status > 0]
        return next((status for status in said if status not in UNDECIDED), max(said, default=0))

    @property
    def request_id(self) -> str:
        """That of the newest answer that says what became of it."""
        said = [one for one in self.tries if one.status > 0 and one.status not in UNDECIDED]
        return said[-1].request_id if said else ""

    @property
    def changes(self) -> bool:
        """Whether it asks for a change."""
        return bool(self.key)


@dataclass
class Event:
    """A fault.

    :ivar subject: the part that it happens to
    :ivar missed: whether it had no effect: what it was to hit was not there
    :ivar injected: seconds since 1970
    """

    round: int
    fault: str
    subject: str
    detail: str = ""
    missed: bool = False
    injected: float = 0.0
    healed: float = 0.0


class History:
    """Collects what happens; many threads add to it."""

    def __init__(self, seed: int, driver: str) -> None:
        self.seed = seed
        self.driver = driver
        self.requests: list[Request] = []
        self.events: list[Event] = []
        self.rounds: list[dict[str, Any]] = []
        self.instances: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def add_request(self, request: Request) -> None:
        """A request is about to be sent."""
        with self._lock:
            self.requests.append(request)

    def add_event(self, event: Event) -> None:
        """A fault is about to happen."""
        event.injected = time.time()
        with self._lock:
            self.events.append(event)

    def of_round(self, number: int) -> list[Request]:
        """The requests that began in a round."""
        return [request for request in self.requests if request.round == number]

    def counts(self) -> dict[str, int]:
        """How many faults of each kind."""
        return dict(sorted(Counter(event.fault for event in self.events).items()))

    def missed(self) -> dict[str, int]:
        """How many faults of each kind had no effect, where any had none."""
        return dict(sorted(Counter(one.fault for one in self.events if one.missed).items()))

    def violations(self) -> list[str]:
        """All that were found, also in a round that broke off."""
        return [one for row in self.rounds for one in row["violations"]]

    def write(self, path: Path) -> None:
        """Write all of it as JSON."""
        document = {
            "seed": self.seed,
            "driver": self.driver,
            "faults_by_kind": self.counts(),
            "without_effect_by_kind": self.missed(),
            "rounds": self.rounds,
            "faults": [asdict(event) for event in self.events],
            "requests": [asdict(request) for request in self.requests],
            "instances": self.instances,
        }
        path.write_text(json.dumps(document, indent=1, default=str))
