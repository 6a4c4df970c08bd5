"""What happens in a schedule, made from its seed before it begins; parts can be left out."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.simulation.bus import Weather
from tests.simulation.stories import STORIES
from tests.simulation.trouble import Rates

EMPHASES: dict[str, dict[str, float]] = {
    "power": {"vm-poweroff": 5, "vm-poweron": 8, "os-start": 2, "delete": 1},
    "delete": {"delete": 4, "forceDelete": 2, "vm-poweron": 3, "os-start": 2},
    "reset": {"os-resetState": 4, "vm-poweron": 2, "vm-poweroff": 2, "reboot-hard": 2},
    "mixed": {},
    "still": {"pause": 3, "unpause": 3, "suspend": 4, "resume": 4},
    "reboot": {"reboot-hard": 4, "reboot-soft": 4, "os-stop": 2, "os-start": 3},
}
MIGRATING = {
    "migrate": 8,
    "os-migrateLive": 14,
    "os-stop": 3,
    "vm-poweroff": 3,
    "os-start": 3,
    "vm-poweron": 3,
}
"""Every eighth schedule's emphasis, whatever else is in it: those of the others stay as they are,
and with them the seeds that notice mutations."""
LIVE = "os-migrateLive"
FATES = ("slow", "hang", "crash", "crash after", "fail after", "power", "cut", "freeze", "delete")
FAULTS = {
    "crash agent": 6,
    "fuse agent": 8,
    "fuse conductor": 4,
    "stop agent": 2,
    "freeze agent": 3,
    "crash conductor": 2,
    "freeze conductor": 1,
    "power": 4,
    "cut host": 4,
    "cut conductor": 1,
    "cut database": 1,
    "hang hypervisor": 2,
    "deaf": 1,
    "mute": 1,
    "guest": 4,
    "jump": 1,
    "fence": 1,
    "pause host": 1,
    "lose epoch": 1,
    "intruder": 1,
    "old copy": 1,
}
LONG_SECONDS = 24.0
"""Long enough for a host to be judged dead, and for what happens then; every twelfth schedule."""
STARTS = ("nothing", "active", "moved", "off", "off", "stopped", "paused", "suspended")
TOLD = 0.5
"""How many plans have a story in them."""


@dataclass(frozen=True)
class Item:
    """Something that happens at a moment.

    :ivar salt: seed of all that is decided then
    :ivar chosen: what is decided already: the verb asked for, a trap's method, fate and seconds,
        or a fault's place and seconds
    """

    at: float
    what: str
    salt: int
    chosen: str = ""


@dataclass(frozen=True)
class Plan:
    """A schedule.

    :ivar start: what the instance that is there at the beginning is
    :ivar story: the name of the story in it, if there is one
    :ivar order: seed of who is next and of all mishaps
    """

    seed: int
    order: int
    start: str
    hosts: int
    emphasis: str
    length: float
    preempt: float
    reaper_interval: float
    weather: Weather
    rates: Rates
    items: tuple[Item, ...]
    story: str = ""

    def without(self, part: range) -> Plan:
        """The plan without some of its items."""
        kept = (item for place, item in enumerate(self.items) if place not in part)
        return replace(self, items=tuple(kept))


def make(seed: int) -> Plan:
    """The plan of a seed."""
    source = random.Random(seed)
    length = source.choice([6.0, 9.0, 14.0])
    made = Plan(
        seed=seed,
        order=source.getrandbits(32),
        start=source.choice(STARTS),
        hosts=source.choice([2, 2, 2, 3]),
        emphasis=source.choice(sorted(EMPHASES)),
        length=length,
        preempt=source.choice([0.0, 0.0, 0.1, 0.4]),
        reaper_interval=source.choice([1.0, 1.5, 2.0]),
        weather=_weather(source),
        rates=_rates(source),
        items=_items(source, length),
    )
    if seed % 12 == 3:
        made = replace(made, length=LONG_SECONDS)
    made = _with_story(source, made) if source.random() < TOLD else made
    return _with_moves(made, seed) if seed % 8 == 5 else made


def _with_moves(plan: Plan, seed: int) -> Plan:
    """The plan with machines that are moved, and hosts that are drained."""
    source = random.Random(seed)
    begin = source.uniform(0.0, plan.length / 2)
    wanted = ["drain"] if source.random() < 0.6 else []
    wanted += ["steer"] * source.choice([0, 1, 1, 2, 3]) if wanted else []
    moments = [begin, *(source.uniform(begin, plan.length) for _ in wanted)]
    more = [Item(at, what, source.getrandbits(32)) for at, what in zip(moments, wanted)]  # noqa: B905
    more += _sent(source, plan.length)
    items = tuple(sorted([*plan.items, *more], key=lambda item: item.at))
    start = source.choice([plan.start, "active", "moved"]) if not plan.story else plan.start
    return replace(plan, emphasis="migrate", items=items, start=start)


def _sent(source: random.Random, length: float) -> list[Item]:
    """Machines are moved while they run, and something befalls one of the two hosts meanwhile."""
    begin = source.uniform(0.0, length / 2)
    told = [(begin, "ask", LIVE)]
    if source.random() < 0.7:
        call = source.choice(["send", "send", "send", "arrive", "receive"])
        told.append((0.0, "trap", f"{call}:{source.choice(FATES)}"))
    if source.random() < 0.6:
        fault = source.choice(["cut host", "crash agent", "power", "freeze agent", "fuse agent"])
        told.append((begin + source.uniform(0.2, 4.0), fault, source.choice(["home", "other"])))
    told += [(source.uniform(begin, length), "ask", source.choice([LIVE, "", "delete"]))]
    return [Item(at, what, source.getrandbits(32), chosen) for at, what, chosen in told]


def _with_story(source: random.Random, plan: Plan) -> Plan:
    """A story begins somewhere in the plan, whose other items become fewer."""
    story = source.choice(STORIES)
    begin = source.uniform(0.0, 2.0)
    told = [
        Item(begin + at, what, source.getrandbits(32), chosen)
        for at, what, chosen in story.tell(source)
    ]
    kept = [item for item in plan.items if source.random() < 0.3]
    length = max(plan.length, LONG_SECONDS if story.long else max(item.at for item in told) + 2.0)
    return replace(
        plan,
        start=source.choice(story.starts) if story.starts else plan.start,
        emphasis=story.emphasis or plan.emphasis,
        length=length,
        story=story.tell.__name__,
        rates=replace(plan.rates, slow=story.slow or plan.rates.slow),
        items=tuple(sorted([*kept, *told], key=lambda item: item.at)),
    )


def _weather(source: random.Random) -> Weather:
    if source.random() < 0.35:
        return Weather()
    return Weather(
        lose_request=source.choice([0, 0.03, 0.1]),
        lose_reply=source.choice([0, 0.03, 0.1]),
        double=source.choice([0, 0.03, 0.1]),
        late=source.choice([0, 0.03, 0.15]),
        longest=source.choice([0.01, 0.3]),
    )


def _rates(source: random.Random) -> Rates:
    if source.random() < 0.35:
        return Rates(slow=source.choice([0.1, 1.0]))
    return Rates(
        slow=source.choice([0.1, 1.0, 4.0]),
        fail_before=source.choice([0, 0.05]),
        fail_after=source.choice([0, 0.05]),
        hang=source.choice([0, 0, 0.03]),
        commit_unknown=source.choice([0, 0, 0.03]),
        commit_undone=source.choice([0, 0, 0.02]),
        commit_repeat=source.choice([0, 0.02]),
    )


def _items(source: random.Random, length: float) -> tuple[Item, ...]:
    names, weights = list(FAULTS), list(FAULTS.values())
    wishes = ["ask"] * source.randint(2, 5)
    if source.random() < 0.3:
        wishes.append("create")
    faults = source.choices(names, weights, k=source.choice([0, 1, 1, 2, 2]))
    faults += ["trap"] * source.choice([0, 1, 2, 2, 3])
    items = [
        Item(source.random() * length, what, source.getrandbits(32)) for what in wishes + faults
    ]
    return tuple(sorted(items, key=lambda item: item.at))
