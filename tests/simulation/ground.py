"""What the schedules of one worker process share: a database, configurations, first scenes."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from conductor.db.models import Flavor, Image, Network, Project, User
from conductor.policy import Policy
from paddock.context import RequestContext
from tests.simulation.bus import Bus
from tests.simulation.cloud import SETTINGS, settings
from tests.simulation.machines import Machine
from tests.simulation.scheduler import Scheduler
from tests.simulation.store import START, moment
from tests.simulation.trouble import Trouble

T = TypeVar("T")
IMAGE = "11111111-1111-4111-8111-111111111111"
FLAVOR = "22222222-2222-4222-8222-222222222222"
MEMBER = "33333333-3333-4333-8333-333333333333"
TRIGGERS = (
    """CREATE TEMP TRIGGER a_start AFTER UPDATE OF status ON main.steps
    WHEN OLD.status = 'accepted' AND NEW.status = 'running'
    BEGIN SELECT noted('start', NEW.id, NEW.deadline, h.state || h.forced_down)
    FROM hosts h WHERE h.name = NEW.host; END""",
    """CREATE TEMP TRIGGER a_deadline AFTER UPDATE OF deadline ON main.steps
    WHEN OLD.status = 'running' AND NEW.deadline > OLD.deadline AND NEW.done <= OLD.done
    BEGIN SELECT noted('deadline', NEW.id, '', ''); END""",
    """CREATE TEMP TRIGGER a_verdict AFTER UPDATE OF state ON main.hosts
    WHEN OLD.state != 'down' AND NEW.state = 'down'
    BEGIN SELECT noted('verdict', NEW.name, group_concat(h.name), '') FROM hosts h
    WHERE h.name != NEW.name AND h.state = 'down' AND NOT h.forced_down
    AND abs(julianday(h.last_heartbeat) - julianday(NEW.last_heartbeat)) * 86400 < 9.9; END""",
    """CREATE TEMP TRIGGER a_stranded AFTER UPDATE OF status ON main.steps
    WHEN NEW.status = 'failed' AND NEW.started_at IS NULL
    BEGIN SELECT noted('stranded', NEW.id, NEW.host, h.name)
    FROM hosts h, hosts own, instances i, actions a
    WHERE own.name = NEW.host AND own.state = 'down' AND h.state = 'up' AND NOT h.forced_down
    AND NOT h.disabled AND h.paused = 0 AND i.id = NEW.instance_id AND a.id = NEW.action_id
    AND a.verb = 'create' AND h.claimed_vcpus + i.vcpus <= h.vcpus
    AND coalesce(json_extract(a.params, '$.zone'), h.zone) = h.zone; END""",
    """CREATE TEMP TRIGGER a_change AFTER UPDATE OF vm_state, power_state ON main.instances
    BEGIN SELECT noted('change', NEW.id, OLD.last_action, ''); END""",
    """CREATE TEMP TRIGGER an_opening AFTER UPDATE OF state ON main.hosts
    WHEN OLD.state != 'up' AND NEW.state = 'up'
    BEGIN SELECT noted('up', NEW.name, '', ''); END""",
    """CREATE TEMP TRIGGER a_room AFTER UPDATE OF vcpus ON main.hosts
    WHEN OLD.vcpus < NEW.vcpus
    BEGIN SELECT noted('room', NEW.name, '', ''); END""",
)
"""What is noted of a change, about what, and two facts of it: of a step's start its deadline and
its host's state, of a verdict the hosts that are dead since about the same time, of an
instance's states its last action, of a create's end on a dead host that host and one that was
open."""
ADMIN = "44444444-4444-4444-8444-444444444444"


@dataclass
class Scene:
    """A cloud at rest, without processes."""

    database: Any
    machines: dict[str, Machine]
    written: dict[str, int]
    instances: list[str]


class Ground:
    """Made once in each worker process.

    :param sessions: the database
    :ivar source, bus: those of the schedule that runs
    :ivar on_change: told what :data:`TRIGGERS` note
    """

    def __init__(self, sessions: Any) -> None:
        self.sessions = sessions
        self.sessions.run(_populate)
        self.empty: Any = sessions.save()
        self.configurations = {
            f"h{n}": settings(f"h{n}", f"az{(n - 1) % 2 + 1}") for n in (1, 2, 3)
        }
        self.policy = make_policy()
        self.contexts = (_context(MEMBER, "demo", "member"), _context(ADMIN, "admins", "admin"))
        self.parts = (IMAGE, FLAVOR)
        self.scenes: dict[tuple[str, int], Scene] = {}
        self.source: random.Random = random.Random(0)
        self.bus: Bus | None = None
        self.on_change: Callable[..., None] = lambda *_: None
        sessions.raw.create_function("noted", 4, self._note)
        for trigger in TRIGGERS:
            sessions.raw.execute(trigger)

    def _note(self, *what: Any) -> None:
        self.on_change(*what)


class DirectStore:
    """A database without trouble and without others."""

    def __init__(self, sessions: Any, scheduler: Scheduler, trouble: Trouble) -> None:
        self._sessions = sessions
        self._scheduler = scheduler
        self._trouble = trouble

    def transaction(self, fn: Callable[[Any], T]) -> T:
        """See ``conductor.turn.Store``."""
        session = self._sessions.begin()
        try:
            answer = fn(session)
        except BaseException:
            self._sessions.undo(session)
            raise
        self._sessions.commit(session)
        return answer

    def read(self, fn: Callable[[Any], T]) -> T:
        """See ``conductor.turn.Store``."""
        result: T = self._sessions.read(fn)
        return result

    moment = None

    def now(self, _session: Any) -> datetime.datetime:
        """See ``conductor.turn.Store``."""
        return moment(self._scheduler.now + self._trouble.clock_jump)


def make_policy() -> Policy:
    """The default policy, which answers the same question always the same."""
    from paddock.config import load

    policy = Policy(load(overrides=SETTINGS))
    known: dict[Any, bool] = {}
    allows = policy.allows

    def remembered(ctxt: RequestContext, rule: str, target: dict[str, Any] | None = None) -> bool:
        key = (ctxt, rule, tuple(sorted(target.items())) if target else None)
        if key not in known:
            known[key] = allows(ctxt, rule, target)
        return known[key]

    policy.allows = remembered  # type: ignore[method-assign]
    return policy


def _context(user: str, project: str, role: str) -> RequestContext:
    return RequestContext(
        request_id="req-1", user_id=user, user_epoch=1, project_id=f"{project}-id", roles=(role,)
    )


def _populate(session: Any) -> None:
    for user, name in ((MEMBER, "demo"), (ADMIN, "admins")):
        session.add(User(id=user, name=name, password_hash="", enabled=True, epoch=1))
        session.add(Project(id=f"{name}-id", name=name, used_instances=0, used_cores=0,
                            used_memory_mb=0))  # fmt: skip
    session.add(Flavor(id=FLAVOR, name="small", vcpus=2, memory_mb=1024, disk_gb=10,
                       is_public=True, disabled=False))  # fmt: skip
    session.add(
        Image(
            id=IMAGE, name="guest", owner=None, visibility="public", status="active",
            disk_format="raw", container_format="bare", size=1, checksum="0" * 64, file="guest",
            created_at=START, updated_at=START,
        )
    )  # fmt: skip
    session.add(Network(id=IMAGE, name="net", project_id=None, cidr="10.9.0.0/16",
                        first="10.9.0.10", last="10.9.0.13"))  # fmt: skip
