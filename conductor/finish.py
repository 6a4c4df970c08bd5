"""finish: how an agent says that a step ended."""

from __future__ import annotations

from conductor import ending, limits, observations
from conductor.agents import own_step, speaking
from conductor.db.models import Action, Host, Instance, Step
from conductor.turn import Turn
from paddock.actions import CLEANING
from paddock.records import Outcome


def finish(turn: Turn, outcome: Outcome) -> bool:
    """Record how a step ended; repeating it is harmless.

    :return: True when it is recorded; False when the ledger had ended the step otherwise: then
        what the worker left behind is taken as an observation
    :raises StaleEpoch: the caller is not the host's newest agent
    """
    ref = outcome.step
    turn.look_ahead(
        (Host, ref.host), (Step, ref.step_id), (Action, Step.action_id),
        (Instance, Step.instance_id),
    )  # fmt: skip
    speaking(turn, ref.host, ref.epoch)
    step = own_step(turn, ref)
    if step is None:
        return False
    if _is_due(turn, step, outcome):
        _end(turn, step, outcome)
        return True
    if _is_recorded(step, outcome):
        return True
    if outcome.seen is not None:
        observations.observe_late(turn, step, outcome.seen)
    return False


def _is_due(turn: Turn, step: Step, outcome: Outcome) -> bool:
    """Whether that attempt runs, and the instance is busy with it (clean-up needs not be)."""
    ref = outcome.step
    if (step.status, step.attempt, step.epoch) != ("running", ref.attempt, ref.epoch):
        return False
    instance = turn.get(Instance, step.instance_id)
    busy = instance.busy if instance else None
    return step.kind in CLEANING or busy == step.action_id


def _is_recorded(step: Step, outcome: Outcome) -> bool:
    ref = outcome.step
    if (step.attempt, step.epoch) != (ref.attempt, ref.epoch):
        return False
    if outcome.error is None:
        return step.status == "succeeded"
    return step.status == "failed" and step.reason == _details(outcome)


def _end(turn: Turn, step: Step, outcome: Outcome) -> None:
    if outcome.error is None:
        ending.succeed(turn, step)
    else:
        told = limits.error(outcome.error).default
        ending.fail(turn, step, told, outcome.seen, _details(outcome))


def _details(outcome: Outcome) -> str:
    return limits.error(outcome.error or {}).message
