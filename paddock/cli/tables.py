"""Drains as text that people read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from paddock.cli.cloud import Document

ORDER = ("moved", "returned", "moving", "planned", "left", "failed", "gone")
"""How counts are read best."""


def plan(drain: Document) -> str:
    """What would become of each machine, with all that should be known before."""
    rows = [
        [one["name"], one["id"], one["how"], one["target"] or "-", about(one["estimate"]),
         one["reason"] or ""]
        for one in drain["plan"]
    ]  # fmt: skip
    return _lines(
        f"Host {drain['host']}: {_machines(len(rows))}, at most {drain['max_parallel']} at once, "
        f"in {about(drain['estimate'])}",
        *(f"Note: {note}" for note in drain["notes"]),
        _table(("name", "id", "how", "to", "takes", "reason"), rows),
    )


def show(drain: Document) -> str:
    """A drain and what became of each of its machines so far."""
    rows = [
        [one["name"], one["id"], one["how"], one["target"] or "-", one["host"] or "-",
         one["verdict"] or one["status"], f"{one['progress']} %", seconds(one["seconds"]),
         one["reason"] or ""]
        for one in drain["machines"]
    ]  # fmt: skip
    return _lines(
        summary(drain),
        *(f"Note: {note}" for note in drain["notes"]),
        _table(("name", "id", "how", "to", "now on", "state", "moved", "took", "reason"), rows),
    )


def listing(drains: Iterable[Document]) -> str:
    """Drains, a line each."""
    rows = [
        [one["id"], one["host"], one["status"], counts(one["counts"]), one["created_at"],
         one["reason"] or ""]
        for one in drains
    ]  # fmt: skip
    return _table(("id", "host", "status", "machines", "begun", "reason"), rows)


def summary(drain: Document) -> str:
    """A drain in one line."""
    why = f" ({drain['reason']})" if drain["reason"] else ""
    left = f", {about(drain['estimate'])} left" if drain["estimate"] is not None else ""
    return (
        f"Drain {drain['id']} of host {drain['host']}{why}: {drain['status']}; "
        f"{counts(drain['counts'])}{left}"
    )


def machine(one: Document) -> str:
    """What is so of a machine, in one line."""
    words = [one["name"], one["verdict"] or one["status"]]
    if one["verdict"] in ("moved", "returned"):
        words += ["to", one["host"] or "-", "in", seconds(one["seconds"])]
    elif one["status"] == "moving":
        words += ["to", one["target"] or "-", f"({one['progress']} %)"]
    line = " ".join(words)
    return f"{line}: {one['reason']}" if one["reason"] else line


def counts(found: Document) -> str:
    """How many machines there are of each kind."""
    kinds = sorted(found, key=lambda kind: ORDER.index(kind) if kind in ORDER else len(ORDER))
    return ", ".join(f"{found[kind]} {kind}" for kind in kinds) or "no machines"


def about(value: float | None) -> str:
    """A time span that is not known exactly."""
    return "-" if value is None else f"about {seconds(float(round(value)))}".replace(".0 s", " s")


def seconds(value: float | None) -> str:
    """A time span."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _machines(count: int) -> str:
    return f"{count} machine{'' if count == 1 else 's'}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return str(tabulate(rows, headers=headers, disable_numparse=True)) if rows else ""


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)
