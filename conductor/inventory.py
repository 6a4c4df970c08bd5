"""What hosts have, asked for through their heartbeats' answers and compared with the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from conductor import leftovers
from conductor.db.models import Host, Instance, Leftover, Query
from conductor.turn import Turn
from paddock.actions import OBSERVATIONS, Seen, VmState
from paddock.clients import read
from paddock.errors import HypervisorError, PaddockError
from paddock.inventory import ORDER, question_id
from paddock.records import Found

Answers = Mapping[str, list[Found]]


def ask(turn: Turn) -> None:
    """Ask each host anew, also one that is down: it may yet answer. A revoked one may not."""
    turn.drop(Query, Query.kind == ORDER)
    heard = sa.select(Host.name).where(Host.revoked.is_(False))
    for host in turn.session.scalars(heard.order_by(Host.name)):
        turn.add(
            Query(
                id=question_id(host), host=host, kind=ORDER, instance_id="", params={},
                created_at=turn.now,
            )
        )  # fmt: skip


def is_asked(question: sa.BindParameter[str]) -> sa.ColumnElement[bool]:
    """In SQL: whether a question's host has yet to answer; see :func:`question_id`."""
    return select(Query.id).where(Query.id == question, Query.answer.is_(None)).exists()


def answers(session: Session) -> dict[str, list[Found] | PaddockError | None]:
    """Of each host what it has, its error, or None while it has not answered."""
    given = sa.and_(Query.host == Host.name, Query.kind == ORDER)
    query = sa.select(Host.name, Query.answer).outerjoin(Query, given)
    query = query.where(Host.revoked.is_(False)).order_by(Host.name)
    return {str(host): _read(said) for host, said in session.execute(query).tuples()}


def _read(said: dict[str, Any] | None) -> list[Found] | PaddockError | None:
    if said is None:
        return None
    if "ok" not in said:
        return HypervisorError(str(said.get("error", {}).get("message", "")))
    return read(said["ok"], list[Found])


def compare(session: Session, given: Answers) -> Iterator[tuple[str, str]]:
    """(host, sentence) for each thing in which a host and the ledger do not agree.

    Instances that are worked on are left out. What a host told is older than the ledger, so only
    what is found twice is surely wrong.
    """
    instances = {row.id: row for row in session.scalars(sa.select(Instance))}
    left: dict[tuple[str, str], list[Leftover]] = {}
    for row in session.scalars(sa.select(Leftover)):
        left.setdefault((row.host, row.instance_id), []).append(row)
    for host, found in given.items():
        for thing in found:
            rows = left.get((host, thing.instance_id), [])
            for sentence in _strange(host, thing, instances.get(thing.instance_id), rows):
                yield host, sentence
    for instance in instances.values():
        if not instance.deleted and instance.busy is None:
            yield from _missing(instance, given)


def _strange(
    host: str, thing: Found, instance: Instance | None, left: list[Leftover]
) -> Iterator[str]:
    key = thing.instance_id
    if instance is None:
        yield f"host {host} has {_name(thing)} of instance {key}, which nobody knows"
        return
    if instance.busy or any(row.kind != leftovers.DISK for row in left):
        return
    if instance.deleted:
        yield f"host {host} has {_name(thing)} of instance {key}, which is deleted"
        return
    if thing.seen is not Seen.GONE and instance.host != host:
        yield f"host {host} has a guest of instance {key}, which is on {instance.host}"
    for generation in thing.disks:
        home = (instance.disk_host, instance.disk_generation) == (host, generation)
        if not home and all(generation >= row.generation for row in left):
            yield f"host {host} has disk {generation} of instance {key}, which is nobody's"


def _name(thing: Found) -> str:
    return "a disk" if thing.seen is Seen.GONE else "a guest"


def _missing(instance: Instance, given: Answers) -> Iterator[tuple[str, str]]:
    host, home = str(instance.host), str(instance.disk_host)
    if host in given:
        seen = next((t.seen for t in given[host] if t.instance_id == instance.id), Seen.GONE)
        if not _agree(instance, seen):
            yield host, f"instance {instance.id} is {instance.vm_state}, but {seen} on host {host}"
    if home in given:
        disks = [disk for t in given[home] if t.instance_id == instance.id for disk in t.disks]
        if instance.disk_generation not in disks:
            yield home, f"the disk of instance {instance.id} is not on host {home}"


def _agree(instance: Instance, seen: Seen) -> bool:
    if instance.vm_state == VmState.POWERED_OFF:
        return seen is Seen.GONE
    state = (instance.vm_state, instance.power_state)
    return OBSERVATIONS.get((VmState(instance.vm_state), seen)) in (None, state)


def reconcile(turn: Turn, hosts: Iterable[str]) -> None:
    """Have hosts set right what they and the ledger do not agree in."""
    for host in hosts:
        leftovers.order_reconcile(turn, host)
