"""A process that runs schedules: its modules wait on simulated threads, queues and clocks."""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace

from paddock import runtime

runtime.choose()

from tests.simulation import light, threads  # noqa: E402
from tests.simulation.cloud import stood_in  # noqa: E402
from tests.simulation.ground import Ground  # noqa: E402
from tests.simulation.lightsession import LightSessions  # noqa: E402
from tests.simulation.mutations import MUTATIONS  # noqa: E402
from tests.simulation.plan import Plan, make  # noqa: E402
from tests.simulation.scenes import scene_of  # noqa: E402
from tests.simulation.schedule import Broken, Schedule, logged  # noqa: E402
from tests.simulation.sessions import Sessions  # noqa: E402
from tests.simulation.shrink import shrink  # noqa: E402

TIDY_EVERY = 50
STACK = ExitStack()


@dataclass
class Story:
    """How a schedule went.

    :ivar wrong: empty when all was well
    """

    seed: int
    wrong: str
    trace: list[str]


@contextmanager
def workshop(plain: bool = False) -> Iterator[Ground]:
    """A ground on which schedules can run, in this process, one after another.

    :param plain: run statements by SQLAlchemy's own sessions, which takes several times as long
    """
    logging.disable()  # verdicts and failures are what schedules are made of
    ground = Ground(Sessions() if plain else LightSessions())
    quick = nullcontext() if plain else light.installed()
    with quick, threads.installed(), stood_in(lambda: ground.source, lambda: ground.bus):
        yield ground


def play(ground: Ground, plan: Plan, trace: bool = False) -> Story:
    """Carry out a plan."""
    schedule = Schedule(ground, plan, scene_of(ground, plan), trace)
    try:
        with logged(schedule) if trace else nullcontext():
            schedule.run()
    except Broken as error:
        return Story(plan.seed, str(error), schedule.trace or [])
    finally:
        logging.disable()
    return Story(plan.seed, "", schedule.trace or [])


@functools.cache
def lasting() -> Ground:
    """The workshop of a process that does nothing but run schedules, opened for good."""
    ground = STACK.enter_context(workshop())
    gc.disable()  # it would take a fifth of the time
    return ground


def broken(first: int, count: int) -> Story | None:
    """Run the schedules of some seeds; the first that broke something."""
    ground = lasting()
    for seed in range(first, first + count):
        story = play(ground, make(seed))
        if story.wrong:
            return story
        if seed % TIDY_EVERY == 0:
            gc.collect()
            gc.freeze()  # what is left now stays: the next collection need not look at it
    return None


def traced(seed: int) -> Story:
    """Run one seed and keep what happens."""
    return play(lasting(), make(seed), trace=True)


def traced_plainly(seeds: Sequence[int]) -> list[Story]:
    """The same over SQLAlchemy's own sessions, for a process that does nothing else."""
    with workshop(plain=True) as ground:
        return [play(ground, make(seed), trace=True) for seed in seeds]


def shrunk(seed: int) -> Story:
    """Run one seed; when it breaks something, keep what happens in the smallest plan that does."""
    story = traced(seed)
    if story.wrong:
        plan, story = smallest(seed)
        story.trace.append(repr(plan))
    return story


def smallest(seed: int) -> tuple[Plan, Story]:
    """The smallest plan found that breaks something as the seed's does, and what happens in it."""
    plan = shrink(make(seed), lambda smaller: bool(play(lasting(), smaller).wrong))
    return plan, play(lasting(), plan, trace=True)


@contextmanager
def without(name: str, seed: int) -> Iterator[None]:
    """The product without a rule; what schedules of the seed begin with was made by the whole."""
    plan = make(seed)
    for hosts in {2, plan.hosts}:  # smaller plans have two
        scene_of(lasting(), replace(plan, hosts=hosts))
    mutation = next(one for one in MUTATIONS if one.name == name)
    with mutation.applied():
        yield


def noticed(name: str, seed: int) -> str:
    """What a schedule says of the product without a rule; empty when it does not notice."""
    with without(name, seed):
        return play(lasting(), make(seed)).wrong


def traced_without(name: str, seed: int) -> Story:
    """The same with what happens."""
    with without(name, seed):
        return traced(seed)


def smallest_without(name: str, seed: int) -> tuple[Plan, Story]:
    """See :func:`smallest`, of the product without a rule."""
    with without(name, seed):
        return smallest(seed)
