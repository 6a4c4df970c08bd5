"""Read-only questions to hosts: noted here, answered by the agent, fetched by the API."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa

from conductor import limits
from conductor.agents import speaking
from conductor.callers import check_current, find_instance, target_of
from conductor.db.models import Host, Instance, Query
from conductor.placement import require_up
from conductor.policy import Policy
from conductor.turn import Turn
from paddock.context import RequestContext
from paddock.errors import BadRequest, Conflict, NotFound
from paddock.records import QueryOrder

RULES = {"console": "os_compute_api:os-console-output"}
LIFETIME = datetime.timedelta(seconds=60)


def ask(
    turn: Turn,
    policy: Policy,
    ctxt: RequestContext,
    instance_id: str,
    kind: str,
    params: dict[str, Any],
) -> tuple[str, str]:
    """Note a question to an instance's host.

    :param kind: ``console``
    :return: the question's id and the host to hint
    :raises Conflict: the instance is on no host yet
    :raises HostUnavailable: the host is not up
    :raises ServiceUnavailable: nor is it yet
    """
    if kind not in RULES:
        raise BadRequest(f"There is no question {kind!r}.")
    check_current(turn, ctxt)
    instance = find_instance(turn, policy, ctxt, instance_id)
    policy.check(ctxt, RULES[kind], target_of(instance))
    host = turn.get(Host, instance.host) if instance.host else None
    if host is None or instance.disk_host is None:
        raise Conflict(f"Instance {instance_id} is not ready.")
    require_up(host, instance_id)
    query = Query(
        id=turn.new_id(), host=host.name, kind=kind, instance_id=instance_id, params=params,
        created_at=turn.now,
    )  # fmt: skip
    turn.add(query)
    return query.id, query.host


def fetch_query(turn: Turn, host: str, epoch: str, query_id: str) -> QueryOrder:
    """What a question asks. NotFound when it is over or another host's."""
    speaking(turn, host, epoch)
    query = turn.get(Query, query_id)
    if query is None or query.host != host or query.answer is not None:
        raise NotFound(f"Question {query_id} is over.")
    return QueryOrder(
        id=query.id, kind=query.kind, instance_id=query.instance_id, params=query.params
    )


def answer(turn: Turn, host: str, epoch: str, query_id: str, said: dict[str, Any]) -> None:
    """Keep a host's answer; one that comes too late is dropped.

    :raises BadRequest: it is no answer to such a question
    """
    speaking(turn, host, epoch)
    query = turn.get(Query, query_id)
    if query is None or query.answer is not None:
        return
    if query.host != host:
        turn.refuse(f"Question {query_id} is not to host {host}.")
        return
    told = limits.answer(query.kind, said)
    turn.change(Query, Query.id == query_id, Query.answer.is_(None), answer=told)


def fetch_answer(
    turn: Turn, policy: Policy, ctxt: RequestContext, query_id: str
) -> dict[str, Any] | None:
    """The host's answer, None while there is none. NotFound when the question is not there."""
    query = turn.get(Query, query_id)
    instance = turn.get(Instance, query.instance_id) if query else None
    if query is None or instance is None:
        raise NotFound(f"Question {query_id} could not be found.")
    policy.check(ctxt, RULES[query.kind], target_of(instance))
    return query.answer


def forget(turn: Turn, query_id: str) -> None:
    """Drop a question whose answer was fetched; answers may be large."""
    turn.drop(Query, Query.id == query_id)


def purge(turn: Turn) -> int:
    """Forget old questions; gives how many."""
    return turn.drop(Query, sa.and_(Query.created_at < turn.now - LIFETIME))
