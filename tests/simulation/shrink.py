"""Makes a plan that breaks something smaller, as long as it still breaks something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.bus import Weather
from tests.simulation.plan import Plan
from tests.simulation.trouble import Rates

MOST_TRIES = 120


def shrink(plan: Plan, breaks: Callable[[Plan], bool]) -> Plan:
    """The smallest plan that was found.

    :param breaks: whether a plan still breaks something
    """
    tries, found = 0, True
    while found and tries < MOST_TRIES:
        found = False
        for smaller in _smaller(plan):
            tries += 1
            if tries > MOST_TRIES:
                break
            if breaks(smaller):
                plan, found = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them, those that lack most first."""
    count = len(plan.items)
    width = max(count // 2, 1)
    while width and count:
        for start in range(0, count, width):
            yield plan.without(range(start, min(start + width, count)))
        width //= 2
    yield from _calmer(plan)


def _calmer(plan: Plan) -> Iterator[Plan]:
    check = plan.rates.check
    calmer = [
        replace(plan, weather=Weather()),
        replace(plan, rates=Rates(slow=plan.rates.slow, check=check)),
        replace(plan, rates=Rates(slow=0.1, check=check)),
        replace(plan, preempt=0.0),
        replace(plan, hosts=2),
    ]
    for name in ("lose_request", "lose_reply", "double", "late"):
        calmer.append(replace(plan, weather=replace(plan.weather, **{name: 0.0})))
    for name in ("fail_before", "fail_after", "hang", "commit_unknown", "commit_undone"):
        calmer.append(replace(plan, rates=replace(plan.rates, **{name: 0.0})))
    return iter([smaller for smaller in calmer if smaller != plan])
