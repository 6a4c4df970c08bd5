"""Drains as administrators ask for them, watch them and change their course."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from conductor import drain_plan, drain_views
from conductor.db.drains import Drain, DrainMachine
from conductor.db.models import Host, Pause
from conductor.documents import NewDrain
from conductor.drain_plan import Planned, Rules
from conductor.hosts import WORKING
from conductor.moments import read_iso
from conductor.pages import most
from conductor.placement import candidates
from conductor.turn import Moved, Turn
from paddock.clients import read
from paddock.context import RequestContext
from paddock.errors import BadRequest, Conflict, NotFound
from paddock.records import DrainRecord, Listing

HOLDER = f"drain{WORKING}"
GOING_ON = ("running", "paused", "cancelling", "restoring")
MOST_PARALLEL = 100
FIELDS = NewDrain.__annotations__.keys()
STEERING = {
    "pause": ("running", "restoring"),
    "resume": ("paused",),
    "cancel": ("running", "paused", "restoring", "completed", "failed", "cancelled"),
    "restore": ("completed", "failed", "cancelled"),
    "retry": ("completed", "failed", "cancelled"),
}
"""Verb → in which statuses a drain takes it."""


def create(turn: Turn, asks: RequestContext, fields: dict[str, Any]) -> DrainRecord:
    """Begin to drain a host, or only say what would happen (``dry_run``).

    The host is closed for new machines, and for users' actions, until the drain is restored, or
    cancelled so that it is open again. A repeated request gets the drain that it made.

    :raises BadRequest: a field is not as it must be
    :raises NotFound: there is no such host
    :raises Conflict: the host is being drained already
    """
    _check(fields)
    known = turn.get(Drain, fields["id"]) if fields.get("id") else None
    if known is not None:
        return _repeated(turn, known, fields)
    host = _find_host(turn, fields["host"])
    drain = _new(turn, asks, host, fields)
    _check_zone(turn, drain.target_zone)
    rules = rules_of(drain)
    drain.notes = drain_plan.notes(turn, host)
    planned = drain_plan.plan(turn, host, drain_plan.machines_on(turn, host.name), rules)
    if fields.get("dry_run"):
        return drain_views.show(turn, drain, machine_rows(drain, planned))
    refuse_twice(turn, host.name)
    close(turn, drain)
    turn.add(drain)
    for row in machine_rows(drain, planned):
        turn.add(row)
    turn.tell(f"Host {host.name} is being drained: {len(planned)} machines")
    return get(turn, drain.id)


def _check(fields: dict[str, Any]) -> None:
    if unknown := set(fields) - FIELDS:
        raise BadRequest(f"A drain takes no {min(unknown)}.")
    wanted = read(fields, NewDrain)
    if not 1 <= wanted.get("max_parallel", 1) <= MOST_PARALLEL:
        raise BadRequest(f"max_parallel must be from 1 to {MOST_PARALLEL}.")
    if wanted.get("strategy", "auto") not in drain_plan.STRATEGIES:
        raise BadRequest(f"strategy must be one of {', '.join(drain_plan.STRATEGIES)}.")


def _repeated(turn: Turn, known: Drain, fields: dict[str, Any]) -> DrainRecord:
    """The drain as it is by now; of its deadline nothing is kept once it is restored."""
    asked = _asked(_find_host(turn, fields["host"]), fields)
    if any(getattr(known, name) != value for name, value in asked.items()):
        raise BadRequest("Idempotency-Key: it was used for another request already.")
    return get(turn, known.id)


def _asked(host: Host, fields: dict[str, Any]) -> dict[str, Any]:
    """What a request says, by the columns that keep it."""
    return {
        "host": host.name,
        "reason": fields.get("reason"),
        "strategy": fields.get("strategy", "auto"),
        "max_parallel": fields.get("max_parallel", 2),
        "target_zone": fields.get("target_zone"),
        "exclude": sorted(set(fields.get("exclude", []))),
    }


def _new(turn: Turn, asks: RequestContext, host: Host, fields: dict[str, Any]) -> Drain:
    until = fields.get("deadline")
    deadline = read_iso(until, "deadline") if until else None
    if deadline is not None and deadline <= turn.now:
        raise BadRequest("deadline must be in the future.")
    return Drain(
        id=fields.get("id") or turn.new_id(),
        status="planned" if fields.get("dry_run") else "running",
        homeward=False,
        notes=[],
        deadline=deadline,
        reopen=True,
        user_id=asks.user_id,
        who=asks.user_name,
        ticked_at=turn.now,
        created_at=turn.now,
        updated_at=turn.now,
        **_asked(host, fields),
    )


def _find_host(turn: Turn, key: str) -> Host:
    host = turn.first(sa.select(Host).where(sa.or_(Host.name == key, Host.id == key)))
    if host is None:
        raise NotFound(f"host: Host {key} could not be found.")
    return host


def _check_zone(turn: Turn, zone: str | None) -> None:
    if zone is not None and all(host.zone != zone for host in candidates(turn)):
        raise BadRequest(f"target_zone: The zone {zone} has no hosts.")


def rules_of(drain: Drain) -> Rules:
    """What its administrator asked for."""
    return Rules(drain.strategy, drain.target_zone, frozenset(drain.exclude))


def machine_rows(drain: Drain, planned: Sequence[Planned], first: int = 0) -> list[DrainMachine]:
    """The rows of machines as they are planned.

    :param first: the place of the first in the drain's order
    """
    return [
        DrainMachine(
            drain_id=drain.id,
            instance_id=one.instance.id,
            name=one.instance.name,
            ordinal=place,
            how=one.how,
            target=one.target,
            status="planned",
            verdict=None,
            reason=one.reason,
            ran=False,
            tries=0,
        )
        for place, one in enumerate(planned, first)
    ]


def refuse_twice(turn: Turn, host: str) -> None:
    """Raise Conflict when a drain of the host goes on."""
    query = sa.select(Drain).where(Drain.host == host, Drain.status.in_(GOING_ON))
    if known := turn.first(query):
        raise Conflict(f"Host {host} is being drained already, by drain {known.id}.")


def close(turn: Turn, drain: Drain) -> None:
    """Hold the pause that all drains of the host share; Moved when another takes it just now."""
    held = turn.get(Pause, (drain.host, HOLDER))
    said = {"reason": drain.reason or "It is being drained.", "who": drain.who}
    if held is None:
        turn.add(Pause(host=drain.host, holder=HOLDER, since=turn.now, **said))
        turn.must(Host, Host.name == drain.host, paused=Host.paused + 1)
        return
    as_read = {"host": drain.host, "holder": HOLDER, "since": held.since, "reason": held.reason}
    turn.must(Pause, as_read, since=turn.now, **said)


def open_again(turn: Turn, host: str, since: datetime.datetime | None = None) -> bool:
    """Lift the drains' pause of a host; False when there is none.

    :param since: only if it is held since then
    """
    mine = [Pause.host == host, Pause.holder == HOLDER]
    lifted = turn.drop(Pause, *mine, *([] if since is None else [Pause.since == since]))
    if lifted:
        turn.must(Host, Host.name == host, paused=Host.paused - 1)
    return bool(lifted)


# --- its course


def steer(turn: Turn, key: str, verb: str, params: dict[str, Any]) -> DrainRecord:
    """Change a drain's course.

    :raises Conflict: its status does not allow that, or another drain of the host goes on
    """
    drain = _find(turn, key)
    if verb not in STEERING:
        raise BadRequest(f"A drain takes no {verb!r}, only {', '.join(STEERING)}.")
    if drain.status not in STEERING[verb]:
        raise Conflict(f"Cannot {verb} drain {drain.id} while it is {drain.status}.")
    changes = _COURSES[verb](turn, drain, params)
    facts = {"id": drain.id, "status": drain.status, "ticked_at": drain.ticked_at}
    turn.must(Drain, facts, updated_at=turn.now, **changes)
    turn.tell(f"The drain of host {drain.host} was told to {verb}")
    return get(turn, drain.id)


def _pause(_turn: Turn, _drain: Drain, _params: dict[str, Any]) -> dict[str, Any]:
    return {"status": "paused"}


def _resume(_turn: Turn, drain: Drain, _params: dict[str, Any]) -> dict[str, Any]:
    return {"status": "restoring" if drain.homeward else "running"}


def _cancel(turn: Turn, drain: Drain, params: dict[str, Any]) -> dict[str, Any]:
    reopen = params.get("reopen", True)
    if not isinstance(reopen, bool):
        raise BadRequest("cancel: reopen must be true or false.")
    if drain.status in GOING_ON:
        return {"status": "cancelling", "reopen": reopen}
    if reopen:
        _open_for_all(turn, drain)
    return {"status": "cancelled"}


def _restore(turn: Turn, drain: Drain, _params: dict[str, Any]) -> dict[str, Any]:
    """The host is open from here, and those that left it come home."""
    _open_for_all(turn, drain)
    _renew(turn, drain, ("moved",))
    return {"status": "restoring", "homeward": True, "finished_at": None, "deadline": None}


def _retry(turn: Turn, drain: Drain, _params: dict[str, Any]) -> dict[str, Any]:
    """Those that were left, or failed, or came back, are tried once more."""
    refuse_twice(turn, drain.host)
    close(turn, drain)
    _renew(turn, drain, ("moved", "returned", "left"))
    return {"status": "running", "homeward": False, "finished_at": None, "deadline": None}


def _renew(turn: Turn, drain: Drain, verdicts: tuple[str, ...]) -> None:
    """Begin anew with machines that had these verdicts, and with those that failed: whether such a
    one is yet to be started stays known."""
    turn.change(DrainMachine, {"drain_id": drain.id, "verdict": verdicts}, **_ANEW, ran=False)
    turn.change(DrainMachine, {"drain_id": drain.id, "verdict": "failed"}, **_ANEW)


def _open_for_all(turn: Turn, drain: Drain) -> None:
    """Open the host, for which no other drain may need it closed: one that begins just now changes
    the pause that was read before it was looked for."""
    held = turn.get(Pause, (drain.host, HOLDER))
    since = held.since if held else None
    refuse_twice(turn, drain.host)
    if since is not None and not open_again(turn, drain.host, since):
        raise Moved


_ANEW: dict[str, Any] = {
    "status": "planned", "verdict": None, "reason": None, "tries": 0, "action_id": None,
    "not_before": None, "begun_at": None, "ended_at": None, "target": None,
}  # fmt: skip
_COURSES = {
    "pause": _pause, "resume": _resume, "cancel": _cancel, "restore": _restore, "retry": _retry,
}  # fmt: skip


# --- as they are shown


def list_page(turn: Turn, listing: Listing) -> list[DrainRecord]:
    """A page of drains, the newest first, without their machines.

    :raises BadRequest: there is no such filter, or marker
    """
    query = sa.select(Drain).order_by(Drain.created_at.desc(), Drain.id.desc())
    for name, value in listing.filters.items():
        if name not in ("host", "status"):
            raise BadRequest(f"{name}: there is no such filter for drains.")
        query = query.where(getattr(Drain, name).in_(value if isinstance(value, list) else [value]))
    if listing.marker is not None:
        last = turn.get(Drain, listing.marker)
        if last is None:
            raise BadRequest(f"marker: [{listing.marker}] could not be found.")
        after = sa.and_(Drain.created_at == last.created_at, Drain.id < last.id)
        query = query.where(sa.or_(Drain.created_at < last.created_at, after))
    drains = turn.all(query.limit(most(listing)))
    counts = _counts(turn, [drain.id for drain in drains])
    return [drain_views.brief(drain, counts.get(drain.id, {})) for drain in drains]


def get(turn: Turn, key: str) -> DrainRecord:
    """A drain with its machines; NotFound."""
    drain = _find(turn, key)
    query = sa.select(DrainMachine).where(DrainMachine.drain_id == drain.id)
    return drain_views.show(turn, drain, turn.all(query.order_by(DrainMachine.ordinal)))


def _find(turn: Turn, key: str) -> Drain:
    drain = turn.get(Drain, key)
    if drain is None:
        raise NotFound(f"Drain {key} could not be found.")
    return drain


def _counts(turn: Turn, ids: list[str]) -> dict[str, dict[str, int]]:
    what = sa.func.coalesce(DrainMachine.verdict, DrainMachine.status)
    query = sa.select(DrainMachine.drain_id, what, sa.func.count()).where(
        DrainMachine.drain_id.in_(ids)
    )
    found: dict[str, dict[str, int]] = {}
    for drain_id, name, count in turn.session.execute(query.group_by(DrainMachine.drain_id, what)):
        found.setdefault(drain_id, {})[name] = count
    return found
