"""What must hold when all faults are healed: pure functions over what was seen."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from api.idempotency import NAMESPACE
from paddock.actions import Seen, VmState
from tests.faults.client import LONGEST
from tests.faults.fleet import Inventory
from tests.faults.history import UNDECIDED, Event, Request
from tests.faults.ledger import Ledger, Row

ACCEPTED = (202, 204)
ENDED = ("succeeded", "failed", "superseded")
EXPECTED = {200, 202, 204, 400, 403, 404, 409, 503}
RIGHT: dict[str, set[Seen]] = {
    VmState.ACTIVE: {Seen.RUNNING},
    VmState.PAUSED: {Seen.PAUSED},
    VmState.SUSPENDED: {Seen.SAVED},
    VmState.STOPPED: {Seen.OFF, Seen.CRASHED, Seen.GONE},
    VmState.POWERED_OFF: {Seen.GONE},
}
"""What an idle machine's hypervisor may say of it."""
QUEUE_COLUMNS = ("name", "messages", "consumers", "arguments")
BROKEN = "failed unexpectedly in the step"
"""What an agent says of an error that it does not know; hypervisors have words of their own."""
LAUNCHES = ("launch", "reboot")


def action_ids(request: Request) -> list[str]:
    """The ids that the API makes of a request's key: one for each server that it is about, and none
    for a drain, whose actions are its own."""
    if request.verb == "drain":
        return []
    count = request.body["server"]["max_count"] if request.verb == "create" else 1
    names = ["\n".join([request.project, request.key, "action", str(n)]) for n in range(count)]
    return [str(uuid.uuid5(NAMESPACE, name)) for name in names]


# --- requests


def check_answers(requests: Iterable[Request], events: Iterable[Event]) -> Iterator[str]:
    """Answers are among those that are promised, in time, and the same when repeated."""
    gone = [(one.injected, one.healed) for one in events if one.subject == "api"]
    for request in requests:
        what = f"{request.verb} {request.method} {request.path} ({request.key})"
        for one in request.tries:
            if one.status == -1:
                yield f"{what}: no answer within {LONGEST:.0f} s"
            elif one.status == 0 and not any(a <= one.at + one.seconds and one.at <= b + 1.0
                                             for a, b in gone):  # fmt: skip
                yield f"{what}: the connection broke ({one.answer}) though the API was there"
            elif one.status not in EXPECTED | {0, 401}:
                yield f"{what}: answered {one.status}: {one.answer}"
            elif one.status == 503 and one.retry_after is None:
                yield f"{what}: answered 503 without Retry-After"
        yield from _check_repeats(request, what)
        if request.changes and not request.done:
            yield f"{what}: got no answer but 503 until the end"


def _check_repeats(request: Request, what: str) -> Iterator[str]:
    """After an answer that says so, each further one says the same."""
    answers = [one for one in request.tries if one.status > 0 and one.status not in UNDECIDED]
    if request.changes and answers:
        first = answers[0]
        for one in answers[1:]:
            if one.status != first.status or _core(one.answer) != _core(first.answer):
                yield (
                    f"{what}: repeated, it was answered {one.status} {one.answer} "
                    f"after {first.status} {first.answer}"
                )


def _core(answer: object) -> object:
    """What of an answer says what was done."""
    for kind in ("server", "drain"):
        if isinstance(answer, dict) and kind in answer:
            return answer[kind]["id"]
    return answer


def check_outcomes(requests: Iterable[Request], ledger: Ledger) -> Iterator[str]:
    """What was accepted has ended, readably; what was not accepted did nothing."""
    broken: dict[str, list[str]] = {}
    for step in ledger.steps:
        if BROKEN in (step["reason"] or ""):
            broken.setdefault(step["action_id"], []).append(step["reason"])
    for request in requests:
        if not request.changes:
            continue
        what = f"{request.verb} {request.path} ({request.key})"
        for row in map(ledger.actions.get, action_ids(request)):
            if request.status in ACCEPTED:
                yield from _check_outcome(what, row, broken)
            elif request.done and row is not None and row["status"] != "refused":
                yield f"{what}: answered {request.status}, and yet {row['status']}"


def _check_outcome(what: str, row: Row | None, broken: Mapping[str, list[str]]) -> Iterator[str]:
    if row is None:
        yield f"{what}: accepted, and no action is there"
    elif row["status"] not in ENDED:
        yield f"{what}: accepted, and still {row['status']}"
    elif row["status"] != "succeeded" and not row["reason"]:
        yield f"{what}: {row['status']} without a reason"
    else:
        yield from (f"{what}: {reason}" for reason in broken.get(row["id"], []))


def check_once(requests: Iterable[Request], ledger: Ledger) -> Iterator[str]:
    """Every accepted action is some request's or drain's, and each create made what it asked for,
    once."""
    changes = [request for request in requests if request.changes]
    minted = {one for request in changes for one in action_ids(request)}
    for row in ledger.actions.values():
        if row["id"] not in minted and row["params"].get("drain") not in ledger.drains:
            yield f"action {row['id']} ({row['verb']}) is of no request"
    yield from _check_made([one for one in changes if one.verb == "create"], ledger)


def _check_made(creates: Iterable[Request], ledger: Ledger) -> Iterator[str]:
    asked = {one.body["server"]["name"]: one for one in creates}
    made = dict.fromkeys(asked, 0)
    for row in ledger.instances.values():
        name = row["name"] if row["name"] in made else row["name"].rpartition("-")[0]
        made[name] = made.get(name, 0) + 1
    for name, count in made.items():
        request = asked.get(name)
        wanted = request.body["server"]["max_count"] if request else 0
        accepted = request is not None and request.status in ACCEPTED
        if count > wanted or (accepted and count < wanted):
            yield f"{count} instances are named {name}, {wanted} were asked for"


# --- what is there


def check_hosts(
    ledger: Ledger, found: Mapping[str, Inventory], dead: Iterable[str] = ()
) -> Iterator[str]:
    """Ledger and hosts agree.

    :param found: of each host that can be looked at
    :param dead: hosts that stay dead: what the ledger leaves there is no violation
    """
    for name, row in ledger.hosts.items():
        if name in dead:
            continue
        if row["state"] != "up":
            yield f"host {name} is {row['state']}"
        for left in ledger.left_on(name).values():
            yield f"left on host {name}: {left[0]['kind']} of {left[0]['instance_id']}"
    for name, inventory in found.items():
        yield from (f"on host {name}: {stray}" for stray in inventory.strays)
        yield from _check_guests(ledger, name, inventory)
        yield from _check_disks(ledger, name, inventory)
        yield from _check_traces(ledger, name, inventory)
    yield from _check_idle(ledger, found)
    yield from _check_claims(ledger)
    yield from _check_ports(ledger, set(dead))


def _check_guests(ledger: Ledger, host: str, inventory: Inventory) -> Iterator[str]:
    left = ledger.left_on(host)
    for key, seen in inventory.guests.items():
        row = ledger.living.get(key)
        if (row is None or row["host"] != host) and key not in left:
            where = f"on {row['host']}" if row else "gone"
            yield f"host {host} has a guest ({seen}) of {key}, which is {where}"


def _check_disks(ledger: Ledger, host: str, inventory: Inventory) -> Iterator[str]:
    left = ledger.left_on(host)
    for key, generation in inventory.disks:
        row = ledger.living.get(key)
        home = row and (row["disk_host"], row["disk_generation"]) == (host, generation)
        covered = any(
            one["kind"] != "disk" or generation < one["generation"] for one in left.get(key, [])
        )
        if not home and not covered:
            yield f"host {host} has a disk of {key}, generation {generation}, that is nobody's"


def _check_traces(ledger: Ledger, host: str, inventory: Inventory) -> Iterator[str]:
    """What is named after an instance is only where that is."""
    left = ledger.left_on(host)
    for key, what in sorted(inventory.traces):
        row = ledger.living.get(key)
        home = row is not None and host in (row["host"], row["disk_host"])
        if key in ledger.instances and not home and key not in left:
            yield f"host {host} has {what} of {key}, which is {'elsewhere' if row else 'gone'}"


def _check_idle(ledger: Ledger, found: Mapping[str, Inventory]) -> Iterator[str]:
    for key, row in ledger.living.items():
        if row["busy"] or row["vm_state"] not in RIGHT:
            continue
        if row["host"] in found:
            seen = found[row["host"]].guests.get(key, Seen.GONE)
            if seen not in RIGHT[row["vm_state"]]:
                yield f"instance {key} is {row['vm_state']}, and host {row['host']} says {seen}"
        if row["disk_host"] in found:
            disk = (key, row["disk_generation"])
            if disk not in found[row["disk_host"]].disks:
                yield f"the disk of {key} is not on host {row['disk_host']}"


def _check_claims(ledger: Ledger) -> Iterator[str]:
    for claim in ledger.claims:
        row = ledger.living.get(claim["instance_id"])
        homes = (row["host"], row["disk_host"]) if row else ()
        if claim["host"] not in homes and claim["instance_id"] not in ledger.left_on(claim["host"]):
            yield f"{claim['kind']} of {claim['instance_id']} is claimed on {claim['host']}"


def _check_ports(ledger: Ledger, dead: set[str]) -> Iterator[str]:
    for port in ledger.ports:
        if port["instance_id"] is None and port["quarantine_host"] not in dead:
            yield f"address {port['address']} waits for host {port['quarantine_host']}"


def check_boots(ledger: Ledger, found: Mapping[str, Inventory]) -> Iterator[str]:
    """No guest has booted more often than it was asked to."""
    asked: dict[str, int] = {}
    for step in ledger.steps:
        if step["kind"] in LAUNCHES and step["started_at"] is not None:
            asked[step["instance_id"]] = asked.get(step["instance_id"], 0) + 1
    for inventory in found.values():
        for key, boots in inventory.boots.items():
            if boots > asked.get(key, 0):
                yield f"{key} has booted {boots} times, and was asked to {asked.get(key, 0)} times"


def seconds_left(ledger: Ledger) -> float:
    """Until the last deadline of what goes on; 0 when nothing does, or all is overdue."""
    now = datetime.now(UTC).replace(tzinfo=None)
    deadlines = [step["deadline"] for step in ledger.live_steps() if step["deadline"]]
    return max(((one - now).total_seconds() for one in deadlines if one > now), default=0.0)


def check_rest(ledger: Ledger) -> Iterator[str]:
    """Nothing goes on any more."""
    for step in ledger.live_steps():
        yield f"step {step['id']} ({step['kind']} on {step['host']}) is {step['status']}"
    for key, row in ledger.living.items():
        if row["busy"]:
            yield f"instance {key} is busy with {row['busy']}"


def check_queues(
    lines: Iterable[str], served: Mapping[str, str], replies: re.Pattern[str], dead: Iterable[str]
) -> Iterator[str]:
    """No queue is there that no process of the cloud uses, and none has messages left.

    What a process is answered through ends by itself once nobody listens: the broker sees to that.

    :param lines: what rabbitmqctl prints of a queue each, in columns as ``QUEUE_COLUMNS``
    :param served: name of each queue that must have a listener → whose it is
    :param replies: names of queues for answers
    :param dead: whose queues nobody serves
    """
    there = {name: figures for name, *figures in (line.split("\t") for line in lines)}
    for name, owner in served.items():
        messages, consumers, _ = there.pop(name, ["0", "0", ""])
        if owner not in dead and consumers == "0":
            yield f"nobody listens to queue {name}"
        if owner not in dead and messages != "0":
            yield f"queue {name} has {messages} messages"
    for name, (_, consumers, arguments) in there.items():
        if not replies.fullmatch(name):
            yield f"queue {name} is left over"
        elif consumers == "0" and "x-expires" not in arguments:
            yield f"queue {name} would stay for ever"
