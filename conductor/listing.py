"""Filters, order and pages of lists, as SQL."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from conductor.db.models import Action, Instance, Port
from conductor.moments import read_iso
from paddock.actions import TASKS_SHOWN, states_of
from paddock.errors import BadRequest
from paddock.records import Listing

Order = Sequence[tuple[str, bool]]
Condition = sa.ColumnElement[bool]

SORT_KEYS = {
    "id": "id", "uuid": "id", "name": "name", "display_name": "name", "host": "host",
    "project_id": "project_id", "user_id": "user_id", "vm_state": "vm_state",
    "task_state": "task_state", "power_state": "power_state", "zone": "zone",
    "availability_zone": "zone", "image_ref": "image_id", "image_id": "image_id",
    "description": "description", "display_description": "description",
    "created_at": "created_at", "updated_at": "updated_at", "launched_at": "launched_at",
    "terminated_at": "terminated_at", "launch_index": "launch_index", "locked": "locked",
    "locked_by": "lock_admin", "flavor": "flavor",
}  # fmt: skip
PLAIN = {
    "id": "id", "uuid": "id", "project_id": "project_id", "tenant_id": "project_id",
    "user_id": "user_id", "vm_state": "vm_state", "task_state": "task_state",
    "power_state": "power_state", "host": "host", "node": "host", "zone": "zone",
    "availability_zone": "zone", "image": "image_id", "image_id": "image_id",
    "reservation_id": "reservation_id", "launch_index": "launch_index", "locked": "locked",
}  # fmt: skip
EPOCH = datetime.datetime(1970, 1, 1)
_LEAST = {sa.String: "", sa.Integer: 0, sa.Boolean: False}


def conditions(listing: Listing) -> list[Condition]:
    """A list's filters; deleted instances only when asked for (``deleted``: None for both)."""
    found: list[Condition] = []
    if "deleted" not in listing.filters:
        found.append(Instance.deleted.is_(False))
    for name, value in listing.filters.items():
        if name in PLAIN:
            found.append(_equals(getattr(Instance, PLAIN[name]), value))
        elif name in _SPECIAL:
            found.append(_SPECIAL[name](value))
        else:
            raise BadRequest(f"{name}: there is no such filter for servers.")
    return found


def _equals(column: Any, value: Any) -> Condition:
    """A list means any of its values."""
    condition: Condition = column.in_(value) if isinstance(value, list) else column == value
    return condition


def _status(value: Any) -> Condition:
    names = value if isinstance(value, list) else [value]
    pairs = sorted({pair for name in names for pair in states_of(str(name))}, key=str)
    task = sa.func.coalesce(Instance.task_state, "")
    return sa.or_(
        sa.false(),
        *(
            sa.and_(
                Instance.vm_state == state.value,
                task == shown if shown else task.not_in(list(TASKS_SHOWN)),
            )
            for state, shown in pairs
        ),
    )


def _locked_by(value: Any) -> Condition:
    """``admin`` or ``owner``."""
    if value not in ("admin", "owner"):
        return sa.false()
    return sa.and_(Instance.locked.is_(True), Instance.lock_admin.is_(value == "admin"))


def _at(name: str) -> Callable[[Any], Condition]:
    """At that moment; a time in whole seconds is all of that second, as servers show it."""
    column = getattr(Instance, name)

    def condition(value: Any) -> Condition:
        begin = read_iso(str(value), name)
        last = begin if begin.microsecond else begin.replace(microsecond=999_999)
        return sa.and_(column >= begin, column <= last)

    return condition


def _deleted(value: Any) -> Condition:
    return sa.true() if value is None else Instance.deleted.is_(bool(value))


def _ports_exist(match: Condition) -> Condition:
    return sa.select(Port.id).where(Port.instance_id == Instance.id, match).exists()


def like_pattern(text: str) -> str:
    """A LIKE pattern for the simple regular expressions that clients send: text, ``^``, ``$``,
    ``.`` and ``.*``; everything else stands for itself, so no text can be costly to match."""
    start, end = text.startswith("^"), text.endswith("$") and not text.endswith("\\$")
    inner = text[start : len(text) - end]
    parts = re.findall(r"\\.|\.\*|.", inner, re.DOTALL)
    body = "".join({".*": "%", ".": "_"}.get(part) or _literal(part) for part in parts)
    return ("" if start else "%") + body + ("" if end else "%")


def _literal(part: str) -> str:
    char = part[-1]
    return f"\\{char}" if char in "%_\\" else char


_SPECIAL: dict[str, Callable[[Any], Condition]] = {
    "all_tenants": lambda _: sa.true(),
    "deleted": _deleted,
    "status": _status,
    "name": lambda value: Instance.name.like(like_pattern(str(value)), escape="\\"),
    "description": lambda value: Instance.description.like(like_pattern(str(value)), escape="\\"),
    "ip": lambda value: _ports_exist(Port.address.like(like_pattern(str(value)), escape="\\")),
    "locked_by": _locked_by,
    "created_at": _at("created_at"),
    "launched_at": _at("launched_at"),
    "terminated_at": _at("terminated_at"),
    "flavor": lambda value: Instance.flavor["id"].as_string() == str(value),
    "changes_since": lambda value: changed() >= read_iso(str(value), "changes-since"),
    "changes_before": lambda value: changed() <= read_iso(str(value), "changes-before"),
}


def changed() -> sa.ColumnElement[datetime.datetime]:
    """When an instance last changed."""
    return sa.func.coalesce(Instance.updated_at, Instance.created_at)


def order(listing: Listing) -> Order:
    """Column names and whether they ascend; the id decides ties."""
    keys = listing.sort or [("created_at", "desc"), ("id", "desc")]
    for key, direction in keys:
        if key not in SORT_KEYS:
            raise BadRequest(f"sort_key: servers cannot be sorted by {key}.")
        if direction not in ("asc", "desc"):
            raise BadRequest("sort_dir: it must be asc or desc.")
    found = [(SORT_KEYS[key], direction == "asc") for key, direction in keys]
    return found if any(key == "id" for key, _ in found) else [*found, ("id", True)]


def clauses(keys: Order, kind: Any = Instance) -> list[sa.UnaryExpression[Any]]:
    """The ORDER BY; nothing comes before everything, in every database."""
    return [
        _filled(kind, name).asc() if ascending else _filled(kind, name).desc()
        for name, ascending in keys
    ]


def _filled(kind: Any, name: str) -> Any:
    column = getattr(kind, name)
    if name in ("id", "created_at", "name"):
        return column
    if name == "flavor":
        return sa.func.coalesce(column["id"].as_string(), "")
    least = next((v for t, v in _LEAST.items() if isinstance(column.type, t)), None)
    return sa.func.coalesce(column, EPOCH if least is None else least)


def after(keys: Order, marker: Any, project_id: Any) -> Condition:
    """Rows that come after the marker's row, compared within the database.

    :param marker: its id, or a parameter for it
    :param project_id: whose the marker's row must be, or a parameter; None: anybody's
    """
    last = sa.alias(Instance.__table__, "marker")
    found: list[Condition] = []
    for place, (name, ascending) in enumerate(keys):
        same = [_filled(Instance, key) == _filled(last.c, key) for key, _ in keys[:place]]
        mine, theirs = _filled(Instance, name), _filled(last.c, name)
        found.append(sa.and_(*same, mine > theirs if ascending else mine < theirs))
    known = [last.c.id == marker]
    known += [] if project_id is None else [last.c.project_id == project_id]
    return sa.select(last.c.id).where(*known, sa.or_(*found)).exists()


def action_conditions(listing: Listing) -> list[Condition]:
    """Filters and marker (a request's id) of an instance's actions."""
    found: list[Condition] = []
    updated = sa.func.coalesce(Action.updated_at, Action.created_at)
    if since := listing.filters.get("changes_since"):
        found.append(updated >= read_iso(str(since), "changes-since"))
    if before := listing.filters.get("changes_before"):
        found.append(updated <= read_iso(str(before), "changes-before"))
    if listing.marker is not None:
        last = sa.alias(Action.__table__, "marker")
        later = sa.tuple_(Action.created_at, Action.id) < sa.tuple_(last.c.created_at, last.c.id)
        found.append(
            sa.select(last.c.id)
            .where(last.c.request_id == listing.marker, later)
            .where(last.c.instance_id == Action.instance_id)
            .exists()
        )
    return found
