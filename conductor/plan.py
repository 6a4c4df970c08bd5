"""The steps of an action: their rows, their deadlines, and when the next one's turn comes."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from conductor.db.models import Action, Step
from conductor.turn import Moved, Turn
from paddock.actions import ACTIONS, StepKind

Plan = Sequence[tuple[StepKind, str]]
LIVE = ("accepted", "running")
UNDONE = ("waiting", *LIVE)
ENDS = {"succeeded": "has succeeded", "failed": "has failed", "superseded": "was superseded"}


def seconds(turn: Turn, verb: str) -> float:
    """How long each step of a verb may take, from the configuration or the table of actions."""
    return float(turn.conf.deadlines.get(verb, ACTIONS[verb].deadline))


def deadlines(turn: Turn, verb: str) -> dict[str, datetime.datetime]:
    """The deadlines of a step that is issued now."""
    allowed = seconds(turn, verb)
    limit = max(allowed, turn.conf.deadline_limit)
    return {
        "deadline": turn.now + datetime.timedelta(seconds=allowed),
        "hard_deadline": turn.now + datetime.timedelta(seconds=limit),
    }


def insert(
    turn: Turn, action: Action, plan: Plan, together: bool = False, first: int = 0
) -> list[Step]:
    """Write an action's steps; the first is accepted, the rest wait for their turn.

    :param together: all are accepted at once
    :param first: how many steps of the action come before
    """
    steps = []
    for ordinal, (kind, host) in enumerate(plan, first):
        due = together or ordinal == first
        steps.append(_step(turn, action, ordinal, kind, host, due))
    for step in steps:
        turn.add(step)
    return steps


def replace(turn: Turn, action: Action, first: Step, plan: Plan) -> None:
    """Put other steps in the place of an action's that have not started.

    :param first: the accepted one, whose deadline stays; Moved when it has started
    """
    mine = (Step.action_id == action.id, Step.started_at.is_(None))
    as_read = (Step.id == first.id, Step.status == "accepted", Step.attempt == first.attempt)
    if not turn.drop(Step, *mine, *as_read):
        raise Moved
    turn.drop(Step, *mine, Step.status == "waiting")
    step = insert(turn, action, plan, first=first.ordinal)[0]
    times = {"deadline": first.deadline, "hard_deadline": first.hard_deadline}
    turn.must(Step, Step.id == step.id, **times)
    turn.hint(step)


def _step(turn: Turn, action: Action, ordinal: int, kind: StepKind, host: str, due: bool) -> Step:
    return Step(
        id=turn.new_id(),
        action_id=action.id,
        instance_id=action.instance_id,
        ordinal=ordinal,
        kind=kind.value,
        host=host,
        status="accepted" if due else "waiting",
        created_at=turn.now,
        hinted_at=turn.now if due else None,
        **(deadlines(turn, action.verb) if due else {}),
    )


def issue(turn: Turn, step: Step, verb: str) -> None:
    """A waiting step's turn has come: its deadline begins, and its host hears of it."""
    turn.must(
        Step,
        {"id": step.id, "status": "waiting"},
        status="accepted",
        hinted_at=turn.now,
        **deadlines(turn, verb),
    )
    turn.hint(step)


def end(turn: Turn, step: Step, status: str, reason: str | None = None) -> None:
    """A step ends as it was read; Moved when it went on meanwhile."""
    turn.must(
        Step,
        {"id": step.id, "status": step.status, "attempt": step.attempt},
        status=status,
        finished_at=turn.now,
        reason=reason,
    )


def end_action(turn: Turn, action: Action, status: str, reason: str | None = None) -> None:
    """A live action ends; Moved when it has ended already."""
    turn.must(
        Action,
        {"id": action.id, "status": LIVE},
        status=status,
        reason=reason,
        updated_at=turn.now,
        finished_at=turn.now,
    )
    turn.tell(
        f"The action {action.verb} {ENDS[status]}" + (f": {reason}" if reason else ""),
        request_id=action.request_id, action_id=action.id, instance_id=action.instance_id,
    )  # fmt: skip
