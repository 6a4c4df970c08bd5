"""What must hold: always, and when everything has come to rest."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy.dialects import sqlite

from conductor.invariants import rules
from paddock.actions import Seen, VmState
from tests.simulation.machines import World

FITTING = {
    VmState.ACTIVE: (Seen.RUNNING,),
    VmState.PAUSED: (Seen.PAUSED,),
    VmState.SUSPENDED: (Seen.SAVED,),
    VmState.STOPPED: (Seen.OFF, Seen.CRASHED, Seen.GONE),
    VmState.POWERED_OFF: (Seen.OFF, Seen.CRASHED, Seen.GONE),
}
RESTLESS = """
SELECT 'a step is live' FROM steps WHERE status IN ('waiting', 'accepted', 'running')
UNION ALL SELECT 'there is a leftover: ' || kind || ' on ' || host FROM leftovers
UNION ALL SELECT host || ' is ' || state FROM (SELECT name AS host, state, reconcile FROM hosts)
    WHERE state != 'up' OR reconcile
UNION ALL SELECT 'the drain of ' || host || ' is ' || status FROM drains
    WHERE status IN ('running', 'cancelling', 'restoring')
UNION ALL SELECT 'an address waits' FROM ports WHERE quarantine_host IS NOT NULL
LIMIT 1
"""
INSTANCES = """
SELECT id, vm_state, host, disk_host, disk_generation, deleted, busy FROM instances ORDER BY id
"""
OVERDUE = "SELECT id FROM steps WHERE status IN ('accepted', 'running') AND deadline < ?"
AWAITED = """
SELECT 1 FROM steps s JOIN actions a ON a.id = s.action_id
WHERE s.status IN ('accepted', 'running') AND s.deadline >= ? AND a.created_at <= ? LIMIT 1
"""
FORGOTTEN = """
SELECT m.instance_id, d.host FROM drain_machines m JOIN drains d ON d.id = m.drain_id
JOIN instances i ON i.id = m.instance_id AND i.deleted = 0 AND i.vm_state = 'stopped'
JOIN actions a ON a.id = (SELECT id FROM actions WHERE instance_id = i.id AND status = 'succeeded'
    AND verb NOT IN ('lock', 'unlock') ORDER BY finished_at DESC LIMIT 1)
WHERE m.ran AND m.verdict IN ('moved', 'returned', 'left')
    AND json_extract(a.params, '$.drain') = d.id AND a.verb IN ('os-stop', 'migrate')
"""
ACTIONS = "SELECT id, verb, status, reason, instance_id FROM actions WHERE status != 'refused'"


@functools.cache
def combined_rules() -> tuple[str, dict[int, str]]:
    """All invariants as one statement; its first column tells which one is broken."""
    options, dialect = {"literal_binds": True}, sqlite.dialect()  # type: ignore[no-untyped-call]
    parts, sentences = [], {}
    most = max(len(query.selected_columns) for query, _ in rules())
    for number, (query, sentence) in enumerate(rules()):
        text = str(query.compile(dialect=dialect, compile_kwargs=options))
        columns = len(query.selected_columns)
        padding = ", NULL" * (most - columns)
        parts.append(f"SELECT {number}, q{number}.*{padding} FROM ({text}) AS q{number}")
        sentences[number] = sentence
    return " UNION ALL ".join(parts), sentences


def broken_invariants(raw: Any) -> list[str]:
    """Sentences of the invariants that do not hold."""
    text, sentences = combined_rules()
    return [sentences[row[0]].format(*row[1:]) for row in raw.execute(text)]


def restlessness(raw: Any) -> str | None:
    """Why the ledger is not at rest; None when it is."""
    row = raw.execute(RESTLESS).fetchone()
    return row[0] if row else None


def overdue(raw: Any, before: str) -> list[str]:
    """Live steps whose deadline was before a moment."""
    return [f"the step {row[0][:4]} is overdue" for row in raw.execute(OVERDUE, (before,))]


def is_awaited(raw: Any, now: str, accepted: str) -> bool:
    """Whether a live step has time left, of an action that was accepted before a moment."""
    return raw.execute(AWAITED, (now, accepted)).fetchone() is not None


def disagreements(raw: Any, world: World) -> list[str]:
    """Where the ledger at rest and the hypervisors differ."""
    wrongs = []
    for row in raw.execute(INSTANCES):
        wrongs += _check_instance(world, *row)
    known = {row[0] for row in raw.execute(INSTANCES)}
    for machine in world.machines.values():
        strange = {found.instance_id for found in machine.found()} - known
        wrongs += [f"nobody knows {key[:4]} on {machine.name}" for key in strange]
    return wrongs


def _check_instance(
    world: World, key: str, state: str, host: str | None, disk_host: str | None, disk: int,
    deleted: int, busy: str | None,
) -> list[str]:  # fmt: skip
    wrongs = []
    places = {
        machine.name
        for machine in world.machines.values()
        if key in machine.domains or machine.disks.get(key)
    }
    if strange := places - {disk_host}:
        wrongs.append(f"{key[:4]} is left on {sorted(strange)}, not on {disk_host}")
    if disk_host is None or deleted:
        return wrongs
    machine = world.machines[disk_host]
    disks = machine.disks.get(key, {})
    if state != VmState.ERROR and disk not in disks:
        wrongs.append(f"{key[:4]} has lost its disk {disk}, there is {sorted(disks)}")
    elif disks and set(disks) != {disk}:
        wrongs.append(f"{key[:4]} has disks {sorted(disks)}, not only {disk}")
    elif disks and disks[disk] < world.expected(key):
        wrongs.append(f"{key[:4]} has an old disk")
    fits = FITTING.get(VmState(state))
    if fits is not None and machine.seen(key) not in fits:
        wrongs.append(f"{key[:4]} is {state}, and its guest {machine.seen(key)}")
    return wrongs


def unfinished(raw: Any, accepted: dict[str, str]) -> list[str]:
    """Accepted actions that have not ended, or failed without a reason for a reader."""
    rows = {row[0]: row for row in raw.execute(ACTIONS)}
    wrongs = []
    for key, verb in accepted.items():
        row = rows.get(key)
        if row is None:
            wrongs.append(f"the accepted {verb} {key[:4]} is lost")
        elif row[2] not in ("succeeded", "failed", "superseded"):
            wrongs.append(f"the {verb} {key[:4]} is {row[2]}")
        elif row[2] == "failed" and len(row[3] or "") < 10:
            wrongs.append(f"the {verb} {key[:4]} failed without a reason: {row[3]!r}")
    return wrongs


def forgotten(raw: Any) -> list[str]:
    """Machines that a drain stopped, and left so though it says that all is well."""
    return [
        f"{key[:4]} was stopped for the drain of {host} and not started again"
        for key, host in raw.execute(FORGOTTEN)
    ]
