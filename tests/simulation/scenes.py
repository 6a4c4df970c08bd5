"""The first scenes of schedules: clouds at rest with one instance, made without any trouble."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import replace
from typing import Any

from paddock.records import AcceptRequest
from tests.simulation.bus import Weather
from tests.simulation.ground import Ground, Scene
from tests.simulation.plan import Plan
from tests.simulation.plan import make as make_plan
from tests.simulation.schedule import CONDUCTORS, Schedule
from tests.simulation.scheduler import FIRST_MOMENT
from tests.simulation.trouble import Rates

VERBS = {
    "active": (),
    "off": ("vm-poweroff",),
    "stopped": ("os-stop",),
    "paused": ("pause",),
    "suspended": ("suspend",),
    "moved": ("vm-poweroff", "vm-poweron"),
}
LASTS = 75.0


def scene_of(ground: Ground, plan: Plan) -> Scene | None:
    """The scene that a plan begins with; None for an empty database."""
    if plan.start == "nothing":
        return None
    key = (plan.start, plan.hosts)
    if key not in ground.scenes:
        ground.scenes[key] = _make(ground, *key)
    return ground.scenes[key]


def _make(ground: Ground, start: str, hosts: int) -> Scene:
    calm = replace(
        make_plan(0), hosts=hosts, start="nothing", items=(), order=hosts, preempt=0.0,
        weather=Weather(), rates=Rates(slow=0.1),
    )  # fmt: skip
    schedule = Schedule(ground, calm, None)
    schedule.scheduler.now = FIRST_MOMENT - LASTS
    try:
        return _play(ground, schedule, start)
    finally:
        schedule.scheduler.close()


def _play(ground: Ground, schedule: Schedule, start: str) -> Scene:
    cloud, users, source = schedule.cloud, schedule.users, random.Random(1)
    for name in CONDUCTORS:
        cloud.start_conductor(name)
    for name in schedule.world.machines:
        cloud.boot(name)
    _pass(schedule, 8.0)
    users.create(_first(users))
    _pass(schedule, 15.0)
    (key, *_) = users.instances
    for verb in VERBS[start]:
        params = {"availability_zone": _other_zone(ground)} if verb == "vm-poweron" else {}
        request = AcceptRequest(
            action_id=str(_uuid(source)), instance_id=key, verb=verb, params=params
        )
        users._begin(lambda request=request: users._ask(ground.contexts[1], request, False, source))  # type: ignore[misc]
        _pass(schedule, 10.0)
    while schedule.scheduler.now < FIRST_MOMENT - 0.1:
        _pass(schedule, FIRST_MOMENT - schedule.scheduler.now)
    assert not schedule.restlessness(), (start, schedule.restlessness())
    for machine in schedule.world.machines.values():
        machine.locked_by = None
        machine.on_change.clear()
        machine.disk.on_write = lambda: None
    return Scene(
        ground.sessions.save(), deepcopy(schedule.world.machines), dict(schedule.world.written),
        users.instances,
    )  # fmt: skip


def _other_zone(ground: Ground) -> str:
    (row,) = ground.sessions.raw.execute("SELECT zone FROM instances").fetchall()
    return "az2" if row[0] == "az1" else "az1"


def _pass(schedule: Schedule, seconds: float) -> None:
    schedule.scheduler.run(schedule.scheduler.now + seconds)
    assert not schedule.wrongs, schedule.wrongs


def _first(users: Any) -> random.Random:
    """A source whose first request is for one instance, without repetition."""
    for seed in range(1000):
        source = random.Random(seed)
        if source.choice([1, 1, 2, 3]) == 1:
            return random.Random(seed)
    raise AssertionError


def _uuid(source: random.Random) -> Any:
    import uuid

    return uuid.UUID(int=source.getrandbits(128), version=4)
