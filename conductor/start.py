"""start, hand_back and progress: what agents say of a step before it ends."""

from __future__ import annotations

import datetime

from conductor import ending, plan, step_tickets
from conductor.agents import own_step, speaking
from conductor.db.models import Action, Host, Image, Instance, Step
from conductor.db.statements import There
from conductor.orders import work_order
from conductor.turn import Turn
from paddock.actions import CLEANING, LAUNCHING, StepKind
from paddock.errors import StepRefused
from paddock.records import Progress, StepRef, WorkOrder


def start(turn: Turn, ref: StepRef) -> WorkOrder:
    """``accepted → running``, and what the worker needs; repeating it repeats the answer.

    The start of a step that may launch moves the instance to its host, with a new generation.

    :raises StaleEpoch: the caller is not the host's newest agent
    :raises StepRefused: the row does not wait for this host and attempt, or its time is over
    """
    turn.look_ahead(
        (Host, ref.host), (Step, ref.step_id), (Action, Step.action_id),
        (Instance, Step.instance_id), (Image, Instance.image_id),
    )  # fmt: skip
    host = speaking(turn, ref.host, ref.epoch)
    step = _named(turn, ref)
    action, instance = turn.get(Action, step.action_id), turn.get(Instance, step.instance_id)
    if action is None or instance is None:
        raise StepRefused(f"Step {ref.step_id} has no action.")
    if step.status == "accepted":
        _check_start(turn, host, step, instance)
        _begin(turn, host, step, action, instance, ref.epoch)
    elif step.status != "running" or step.epoch != ref.epoch:
        raise StepRefused(f"Step {ref.step_id} is {step.status}.")
    return work_order(turn, step, action, instance)


def _named(turn: Turn, ref: StepRef) -> Step:
    step = own_step(turn, ref)
    if step is None or step.attempt != ref.attempt:
        raise StepRefused(f"Step {ref.step_id} does not wait for {ref.host}.")
    return step


def _check_start(turn: Turn, host: Host, step: Step, instance: Instance) -> None:
    if host.state != "up" or host.forced_down:
        raise StepRefused(f"Host {host.name} is {host.state} and starts nothing.")
    if step.deadline is None or step.deadline <= turn.now:
        raise StepRefused(f"The time of step {step.id} is over.")
    if step.kind not in CLEANING and instance.busy != step.action_id:
        raise StepRefused(f"Instance {instance.id} is not busy with step {step.id}.")


def _begin(
    turn: Turn, host: Host, step: Step, action: Action, instance: Instance, epoch: str
) -> None:
    """Instance, where its row changes, then step: the order in which all take their locks."""
    facts = [_is_as_read(host)]
    is_news = instance.last_action != action.id and step.kind != StepKind.RECEIVE
    last = {"last_action": action.id} if is_news else {}  # as an older conductor's accept leaves it
    if step.kind in LAUNCHING:
        moves = instance.host != step.host
        turn.alter(
            instance,
            {"busy": action.id, "host": instance.host, "generation": instance.generation},
            host=step.host,
            generation=instance.generation + moves,
            disk_host=instance.disk_host or step.host,
            **last,
        )
    elif last and step.kind not in CLEANING:
        turn.alter(instance, {"busy": action.id}, **last)
    elif step.kind not in CLEANING:
        facts.append(There(Instance, {"id": instance.id, "busy": action.id}))
    turn.alter(
        step,
        {"status": "accepted", "host": step.host, "attempt": step.attempt},
        *facts,
        status="running",
        epoch=epoch,
        ticket=step_tickets.draw(step.kind),
        started_at=step.started_at or turn.now,
    )


def _is_as_read(host: Host) -> There:
    """Nobody has judged the host, fenced it or spoken for it meanwhile."""
    names = ("name", "epoch", "state", "forced_down")
    return There(Host, {name: getattr(host, name) for name in names})


def hand_back(turn: Turn, ref: StepRef, recorded_epoch: str | None) -> bool:
    """A running step that its host's new process does not hold waits again, or fails at last.

    Its bytes are counted anew: the next attempt begins at none, and its progress must count.

    :param recorded_epoch: of the process that started it
    :return: False when the step is no longer so
    """
    speaking(turn, ref.host, ref.epoch)
    step = own_step(turn, ref)
    found = step and (step.attempt, step.status, step.epoch)
    if step is None or found != (ref.attempt, "running", recorded_epoch):
        return False
    if step.attempt >= turn.conf.max_attempts:
        ending.fail(turn, step, f"It was given up after {step.attempt} attempts.", None)
        return True
    turn.must(
        Step,
        Step.id == step.id,
        Step.status == "running",
        Step.attempt == ref.attempt,
        Step.epoch == recorded_epoch,
        status="accepted",
        attempt=ref.attempt + 1,
        epoch=None,
        hinted_at=turn.now,
        done=0,
        total=0,
    )
    turn.hint(turn.get(Step, step.id) or step)
    return True


def progress(turn: Turn, told: Progress) -> None:
    """Bytes that grew move the deadline, up to the hard one.

    :raises StaleEpoch: a newer process speaks for the host
    :raises StepRefused: the step no longer runs under this attempt
    """
    ref = told.step
    speaking(turn, ref.host, ref.epoch)
    step = own_step(turn, ref)
    mine = (ref.attempt, "running", ref.epoch)
    if step is None or (step.attempt, step.status, step.epoch) != mine:
        raise StepRefused(f"Step {ref.step_id} no longer runs as attempt {ref.attempt}.")
    if told.done <= step.done:
        return
    turn.must(
        Step,
        Step.id == step.id,
        Step.status == "running",
        Step.attempt == ref.attempt,
        Step.done == step.done,
        done=told.done,
        total=told.total,
        deadline=_moved_deadline(turn, step),
    )


def _moved_deadline(turn: Turn, step: Step) -> datetime.datetime:
    action = turn.get(Action, step.action_id)
    assert action is not None
    assert step.deadline is not None
    assert step.hard_deadline is not None
    anew = turn.now + datetime.timedelta(seconds=plan.seconds(turn, action.verb))
    return max(step.deadline, min(anew, step.hard_deadline))
