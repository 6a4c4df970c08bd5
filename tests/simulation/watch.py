"""What is looked at while a schedule runs: promises that a cloud at rest no longer shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from paddock.actions import OBSERVATIONS, Seen, VmState
from paddock.errors import PaddockError
from paddock.records import GuestSpec
from tests.simulation.machines import ALIVE, Machine, World

VERDICT = "SELECT state FROM hosts WHERE name = ?"
PROGRESS = "SELECT id, attempt, done, deadline FROM steps WHERE status = 'running'"
EPOCH = "SELECT epoch FROM hosts WHERE name = ?"
STEP = "SELECT attempt, status, host FROM steps WHERE id = ?"
LATE = """
SELECT i.vm_state, i.power_state FROM instances i JOIN steps s ON s.instance_id = i.id
WHERE s.id = ? AND i.host = s.host AND i.busy IS NULL AND NOT i.deleted
    AND (i.last_action IS NULL OR i.last_action = s.action_id)
"""
WAITING = """
SELECT h.name FROM steps s JOIN hosts h ON h.name = s.host
WHERE s.action_id = ? AND s.status IN ('accepted', 'running') AND h.state = 'down'
"""
LEFT = """
SELECT l.kind FROM leftovers l JOIN steps s ON s.instance_id = l.instance_id AND s.host = l.host
WHERE s.id = ? AND s.kind = 'fetch'
"""
BY_AGENTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "heartbeat": lambda args: args["beat"],
    "start": lambda args: args["steps"][0],
    "finish": lambda args: args["outcomes"][0]["step"],
    "hand_back": lambda args: args["step"],
    "progress": lambda args: args["progress"]["step"],
    **dict.fromkeys(("report", "reconcile", "reconciled", "pong"), lambda args: args),
}
ODD_STEPS = """
SELECT id, 'was issued ' || attempt || ' times' FROM steps WHERE attempt > 3
UNION ALL SELECT id, 'was started when its time was over' FROM steps
    WHERE started_at > deadline
UNION ALL SELECT id, 'moved its deadline too far' FROM steps WHERE deadline > hard_deadline
UNION ALL SELECT id, 'was cancelled though it was wanted' FROM steps
    WHERE status = 'failed' AND reason LIKE '%no longer lists%'
"""
REFUSABLE = ("NotFound", "InstanceLocked", "HostPaused", "ServiceUnavailable", "BusUnavailable",
             "DatabaseUnavailable", "BadRequest")  # fmt: skip


class Watch:
    """Sees launches, answers and the ledger.

    :param wrong: told of what must never happen
    :param task: gives the one that runs
    :ivar changed: (task, instance) → the last action before a report changed its states
    """

    def __init__(
        self, raw: Any, world: World, wrong: Callable[[str], None], task: Callable[[], object]
    ) -> None:
        self._task = task
        self.changed: dict[tuple[object, str], str | None] = {}
        self._raw = raw
        self._world = world
        self._wrong = wrong
        self._finished: dict[bytes, bool] = {}
        self._progress: dict[tuple[str, int], tuple[int, str]] = {}

    def launch(self, machine: Machine, guest: GuestSpec, hung: bool) -> None:
        """A guest is about to run; one whose start hung may do so when its host is given up."""
        row = self._raw.execute(VERDICT, (machine.name,)).fetchone()
        if row is not None and row[0] == "down" and not hung:
            self._wrong(f"{guest.id[:4]} starts on {machine.name}, which was judged dead")
        mine = {port.address for port in guest.ports}
        for other in self._world.machines.values():
            for key, domain in other.domains.items():
                if key != guest.id and domain.seen in ALIVE and mine & set(domain.addresses):
                    self._wrong(f"{guest.id[:4]} and {key[:4]} have the same address")

    def answered(self, method: str, content: bytes, answer: Any) -> None:
        """A conductor has answered a call; nothing else has happened since its transaction."""
        if method == "accept":
            self._check_deletes(content)
        if method not in BY_AGENTS:
            return
        args = msgspec.json.decode(content)
        told = BY_AGENTS[method](args)
        if isinstance(answer, list) and answer and "error" in answer[0]:
            return
        (newest,) = self._raw.execute(EPOCH, (told["host"],)).fetchone()
        if told["epoch"] != newest:
            self._wrong(f"a {method} of an old process of {told['host']} was obeyed")
        if method == "report":
            self._check_report(told)
        if "step_id" in told:
            self._check_step(method, told, answer, content)

    def _check_step(self, method: str, ref: dict[str, Any], answer: Any, content: bytes) -> None:
        row = self._raw.execute(STEP, (ref["step_id"],)).fetchone()
        attempt, status, host = row if row is not None else (0, "", "")
        key = ref["step_id"][:4]
        if method == "start" and (attempt, host) != (ref["attempt"], ref["host"]):
            self._wrong(f"attempt {ref['attempt']} of {key} was started, but {attempt} waits")
        if method == "start" and (left := self._raw.execute(LEFT, (ref["step_id"],)).fetchone()):
            self._wrong(f"a disk comes to {host}, which has yet to clean up a {left[0]} of it")
        if method == "finish":
            ok = answer[0]["ok"]
            if ok and attempt != ref["attempt"]:
                self._wrong(f"attempt {ref['attempt']} of {key} was finished, not {attempt}")
            if self._finished.setdefault(content, ok) and not ok:
                self._wrong("a finish that was recorded is refused when it is repeated")
            if not ok:
                self._check_late(ref["step_id"], content)
        after = (ref["attempt"] + 1, "accepted")
        if method == "hand_back" and answer and status == "accepted" and (attempt, status) != after:
            self._wrong(f"attempt {ref['attempt']} of {key} was handed back, not {attempt}")
        if method == "progress":
            self._check_progress()

    def _check_deletes(self, content: bytes) -> None:
        for request in msgspec.json.decode(content)["requests"]:
            waiting = self._raw.execute(WAITING, (request["action_id"],)).fetchone()
            if request["verb"] in ("delete", "forceDelete") and waiting:
                self._wrong(f"a {request['verb']} waits for {waiting[0]}, which is dead")

    def _check_report(self, told: dict[str, Any]) -> None:
        """What was seen before an action changes nothing after it."""
        for one in told["seen"]:
            last = self.changed.pop((self._task(), one["instance_id"]), None)
            if None not in (last, one["action_id"]) and last != one["action_id"]:
                self._wrong(
                    f"{one['instance_id'][:4]} becomes what was seen before its last action"
                )

    def _check_late(self, step_id: str, content: bytes) -> None:
        """What a worker whose step had ended saw of the guest is what the ledger shows then."""
        seen = msgspec.json.decode(content)["outcomes"][0]["seen"]
        row = self._raw.execute(LATE, (step_id,)).fetchone()
        if row is None or seen is None:
            return
        shown = OBSERVATIONS.get((VmState(row[0]), Seen(seen)))
        if shown is not None and shown != tuple(row):
            self._wrong(f"a late worker of {step_id[:4]} saw {seen}, but the ledger shows {row[0]}")

    def refused(self, verb: str, error: PaddockError) -> None:
        """A user's wish was refused."""
        if verb in ("delete", "forceDelete") and type(error).__name__ not in REFUSABLE:
            self._wrong(f"a {verb} was refused: {error}")

    def check_steps(self) -> None:
        """See that no step broke a rule."""
        for key, what in self._raw.execute(ODD_STEPS):
            self._wrong(f"the step {key[:4]} {what}")

    def _check_progress(self) -> None:
        for key, attempt, done, deadline in self._raw.execute(PROGRESS):
            before = self._progress.get((key, attempt))
            if before is not None and done <= before[0] and deadline > before[1]:
                self._wrong(f"the step {key[:4]} moved its deadline without progress")
            if before is not None and done < before[0]:
                self._wrong(f"the step {key[:4]} went back from {before[0]} to {done} bytes")
            self._progress[key, attempt] = (done, deadline)
