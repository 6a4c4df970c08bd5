"""Short stories of what goes wrong together, where chance alone would take too long to tell them.

Each is a few items of a plan; moments, hosts and all the rest are the seed's to decide.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

CALLS = ("launch", "boot", "shut_down", "release", "destroy", "fetch", "suspend", "resume")
Part = tuple[float, str, str]


@dataclass(frozen=True)
class Story:
    """What happens, and what it needs.

    :ivar tell: gives (seconds after the beginning, what, what is chosen) of each item
    :ivar starts: what the instance may be at the beginning; empty for anything
    :ivar long: whether a host must have time to be judged
    :ivar slow: the longest that a hypervisor's call takes, seconds; 0 for the plan's
    :ivar emphasis: of the users' wishes; empty for the plan's
    """

    tell: Callable[[random.Random], list[Part]]
    starts: tuple[str, ...] = ()
    long: bool = False
    slow: float = 0.0
    emphasis: str = ""


def _handed_back(source: random.Random) -> list[Part]:
    """A worker dies with its process, and what is said of its attempt is said again, late."""
    call = source.choice(CALLS)
    return [
        (0.0, "trap", f"{call}:crash"),
        (0.0, "trap", source.choice(["hand_back:again", "hand_back:again", "run:echo"])),
        (0.2, "ask", ""),
        (0.3, "trap", f"{call}:slow"),
    ]


def _unheard(source: random.Random) -> list[Part]:
    """A step is started, but its agent never hears so, gives it back, and is hinted again."""
    return [
        (0.0, "trap", "run:echo"),
        (0.0, "trap", "start:unknown"),
        (0.0, "trap", source.choice(["hand_back:late:3", "hand_back:late:4", "hand_back:again"])),
        (0.2, "ask", source.choice(["", "delete", "delete"])),
    ]


def _moved(source: random.Random) -> list[Part]:
    """A disk moves slowly, its move is disturbed, and it is tried again."""
    fate = source.choice(["slow", "fail after", "fail before", "crash", "crash after", "cut"])
    start = source.uniform(1.0, 4.0)
    return [
        (0.0, "trap", source.choice(["progress:again", "progress:again", f"fetch:{fate}"])),
        (0.1, "ask", "move"),
        (start, source.choice(["trap", "crash agent"]), ""),
        *[(start + source.uniform(0.5, 5.0), "ask", "move") for _ in range(3)],
    ]


def _tried_again(source: random.Random) -> list[Part]:
    """A move fails, and is asked for again and again before the copy is cleaned up."""
    fate = source.choice(["fail after", "fail before", "crash after", "hang"])
    return [
        (0.0, "trap", f"{source.choice(['fetch', 'launch', 'define'])}:{fate}"),
        (0.0, "trap", f"{source.choice(['found', 'destroy'])}:slow"),
        (0.1, "ask", "move"),
        *[(source.uniform(1.0, 9.0), "ask", "move") for _ in range(6)],
    ]


def _target_restarts(source: random.Random) -> list[Part]:
    """The agent to which a disk moves ends when the copy is there, and looks around anew."""
    return [
        (0.0, "trap", source.choice(["fetch:crash after", "launch:crash", "launch:fail after"])),
        (0.1, "ask", "move"),
        (source.uniform(0.5, 4.0), "crash agent", "other:0.3"),
    ]


def _given_up(source: random.Random) -> list[Part]:
    """A host that lives is cut off; its machine is deleted, and others are made meanwhile."""
    return [
        (0.0, "cut host", "home:24"),
        (source.uniform(11.5, 14.0), "ask", source.choice(["delete", "forceDelete"])),
        *[(source.uniform(14.5, 18.0), "create", "") for _ in range(3)],
    ]


def _taken_away(source: random.Random) -> list[Part]:
    """An administrator takes a machine out of its worker's hands, which go on."""
    call = source.choice(CALLS)
    start = source.uniform(0.5, 1.5)
    return [
        (0.0, "trap", f"{call}:slow"),
        (0.1, "ask", ""),
        (start, "ask", "os-resetState"),
        *[(start + source.uniform(0.1, 4.0), "ask", "") for _ in range(2)],
    ]


def _deleted_at_birth(source: random.Random) -> list[Part]:
    """A machine is deleted while its hypervisor starts it."""
    call = source.choice(["boot", "boot", "launch", "define", "fetch"])
    return [
        (0.0, "trap", f"{call}:delete"),
        *[(0.1, "ask", verb) for verb in ("os-start", "reboot-hard")],
        (source.uniform(2.0, 4.0), "ask", "reboot-hard"),
    ]


def _judged_anew(source: random.Random) -> list[Part]:
    """A host falls silent, and a conductor that may judge it has only just begun, or come back."""
    return [
        (0.0, source.choice(["power", "cut host"]), ":17"),
        (source.uniform(3.0, 11.0), "crash conductor", ""),
        (source.uniform(3.0, 11.0), source.choice(["crash conductor", "cut conductor"]), ""),
    ]


def _end_unknown(source: random.Random) -> list[Part]:
    """A machine is launched elsewhere, and its host falls silent before it can say so."""
    call = source.choice(["boot", "boot", "launch", "define"])
    fate = source.choice(["cut", "cut", "freeze"])
    return [
        (0.0, "trap", f"{call}:{fate}"),
        (0.1, "ask", source.choice(["move", "move", "vm-poweron"])),
        (source.uniform(14.0, 18.0), "ask", source.choice(["move", "vm-poweron", ""])),
    ]


def _hung_start(source: random.Random) -> list[Part]:
    """A hypervisor starts a guest long after it was told so, while others want something else."""
    mixed = ["delete", "move", "vm-poweron", "os-start", "os-resetState"]
    wishes = source.choice([mixed, ["move"]])
    return [
        (0.0, "trap", "boot:hang"),
        (0.1, "ask", source.choice(["move", "vm-poweron", "os-start", "reboot-hard"])),
        *[(source.uniform(2.0, 15.0), "ask", source.choice(wishes)) for _ in range(6)],
        (source.uniform(6.0, 12.0), "create", ""),
    ]


def _never_begun(source: random.Random) -> list[Part]:
    """Machines are to be made on a host that has just fallen silent."""
    place = source.choice(["home", "other"])
    start = source.uniform(0.1, 3.0)
    return [
        (0.0, source.choice(["cut host", "power"]), f"{place}:23"),
        *[(start + source.uniform(0.0, 2.0), "create", "") for _ in range(3)],
    ]


def _dies_at_work(source: random.Random) -> list[Part]:
    """A host falls silent while a machine is made there, or comes there."""
    seconds = source.uniform(12.0, 18.0)
    fault = source.choice(["cut host", "power", "freeze agent"])
    return [
        (0.0, "trap", source.choice(["launch:slow", "fetch:slow", "run:late", "start:late"])),
        (0.1, source.choice(["create", "ask"]), ""),
        (0.1 + source.random(), fault, f"{source.choice(['home', 'other'])}:{seconds}"),
    ]


def _old_answer(source: random.Random) -> list[Part]:
    """The answer to a heartbeat comes so late that work has begun meanwhile."""
    return [
        (0.0, "trap", "heartbeat:reply late"),
        (0.0, "trap", "heartbeat:reply late"),
        *[(source.uniform(0.0, 6.0), "ask", "") for _ in range(3)],
        (source.uniform(0.0, 3.0), "trap", f"{source.choice(CALLS)}:slow"),
    ]


def _asked_again(source: random.Random) -> list[Part]:
    """Requests and their answers get lost or come twice, and other requests come between."""
    method = source.choice(["accept", "accept", "create"])
    fate = source.choice(["again", "reply lost", "late", "reply late", "unknown"])
    return [
        (0.0, "trap", f"{method}:{fate}"),
        (0.1, "create" if method == "create" else "ask", ""),
        *[(source.uniform(0.3, 3.0), "ask", "") for _ in range(3)],
    ]


def _started_late(source: random.Random) -> list[Part]:
    """A host's heartbeats get lost, and what it sent last arrives when it has been judged."""
    return [
        (0.0, "mute", "home"),
        (0.1, "trap", "start:late:4.9"),
        (source.uniform(4.0, 8.0), "ask", source.choice(["reboot-hard", "vm-poweroff", "os-stop"])),
    ]


def _all_silent(source: random.Random) -> list[Part]:
    """Hosts fall silent at about the same time."""
    kinds = ["cut host", "power", "freeze agent"]
    return [
        (source.uniform(0.0, 6.0), source.choice(kinds), f"{place}:{source.uniform(13.0, 20.0)}")
        for place in ("home", "other", "other")
    ]


def _taken_back(source: random.Random) -> list[Part]:
    """An administrator resets a machine that is being deleted."""
    start = source.uniform(0.1, 1.5)
    return [
        (0.0, "trap", f"destroy:{source.choice(['slow', 'fail after', 'crash'])}"),
        (0.1, "ask", "delete"),
        *[(start + source.random(), "ask", "os-resetState") for _ in range(3)],
    ]


def _unheard_hints(source: random.Random) -> list[Part]:
    """An agent hears no hints, so that only heartbeats tell it of its work."""
    return [
        (0.0, "deaf", source.choice(["home", "other"])),
        *[(source.uniform(0.1, 6.0), "ask", "") for _ in range(3)],
        (source.uniform(2.0, 5.0), "create", ""),
    ]


def _out_of_touch(source: random.Random) -> list[Part]:
    """A host is out of touch for about as long as its lease, with work that waits for it."""
    seconds = source.uniform(7.0, 12.0)
    return [
        (source.uniform(0.5, 2.0), source.choice(["cut host", "freeze agent"]), f"home:{seconds}"),
        *[(source.uniform(0.0, 4.0), "ask", "") for _ in range(3)],
        (0.0, "trap", f"{source.choice(['launch', 'resume', 'define', 'fetch'])}:slow"),
        (source.uniform(5.0, 8.0), "trap", source.choice(["found:slow", "reconciled:late"])),
    ]


def _too_late(source: random.Random) -> list[Part]:
    """The clock jumps while a step's start is under way."""
    return [(0.0, "trap", "start:jump"), (0.2, "ask", ""), (source.uniform(2.0, 5.0), "ask", "")]


def _brought_back(source: random.Random) -> list[Part]:
    """An old copy of a disk is there again, and is removed while its machine is used."""
    return [
        (0.0, "trap", "destroy:slow"),
        (0.1, "old copy", source.choice(["home", "home", "other"])),
        *[(source.uniform(0.5, 6.0), "ask", "") for _ in range(4)],
    ]


OFF, ON = ("off",), ("active", "moved")
STORIES = (
    Story(_handed_back, slow=4.0),
    Story(_unheard, slow=4.0),
    Story(_moved, OFF, slow=4.0),
    Story(_tried_again, OFF, emphasis="power"),
    Story(_target_restarts, OFF),
    Story(_given_up, ON, long=True),
    Story(_taken_away),
    Story(_deleted_at_birth, ("off", "stopped", "active"), slow=0.2),
    Story(_judged_anew, long=True),
    Story(_out_of_touch, long=True),
    Story(_too_late),
    Story(_end_unknown, OFF, long=True),
    Story(_hung_start, ("off", "off", "off", "stopped", "active"), slow=0.2),
    Story(_never_begun, ("nothing", "off"), long=True),
    Story(_dies_at_work, long=True),
    Story(_old_answer, slow=4.0),
    Story(_asked_again),
    Story(_unheard_hints),
    Story(_started_late, ("active",), long=True),
    Story(_all_silent, long=True),
    Story(_taken_back, slow=4.0, emphasis="reset"),
    Story(_brought_back, ("active", "moved", "off", "stopped")),
)
