"""Which silent hosts are judged dead, and when a conductor may judge at all."""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from conductor.db.models import Host
from conductor.turn import Turn

LOG = logging.getLogger(__name__)
JUMP_SECONDS = 1.0
MISSED_BEATS = 2
PROBES_PER_DEAD_TIME = 4


class Proof:
    """Proves a conductor's own path before it judges others.

    It holds once every probe (a call to itself through broker and database) has succeeded for the
    whole dead time, with rounds close together and the database's clock in step with this
    machine's; an outage or a jump of the clock starts that over. Probes are a quarter of that time
    apart, so an outage between two of them is too short to make a host seem dead.

    :param probe: whether a call to itself got through; bounded
    :param monotonic: this machine's monotonic clock, seconds
    :param needed: seconds for which the path must be proven
    """

    def __init__(
        self, probe: Callable[[], bool], monotonic: Callable[[], float], needed: float
    ) -> None:
        self._probe = probe
        self._monotonic = monotonic
        self._needed = needed
        self._since: float | None = None
        self._probed = 0.0
        self._last: tuple[float, datetime.datetime] | None = None

    def holds(self, now: datetime.datetime) -> bool:
        """Probe if it is time, and say whether the path is proven; call it every round.

        :param now: the database's clock
        """
        at = self._monotonic()
        if not self._is_steady(at, now):
            self._since = None
        self._last = (at, now)
        if self._since is None or at - self._probed >= self._needed / PROBES_PER_DEAD_TIME:
            works = self._probe()
            self._probed = at = self._monotonic()
            if not works:
                self._since = None
            elif self._since is None:
                self._since = at
        return self._since is not None and at - self._since >= self._needed

    def _is_steady(self, at: float, now: datetime.datetime) -> bool:
        if self._last is None:
            return True
        passed = at - self._last[0]
        by_database = (now - self._last[1]).total_seconds()
        return passed < self._needed / 2 and abs(passed - by_database) < JUMP_SECONDS


def is_someone_overdue(turn: Turn) -> bool:
    """Whether there is anybody to judge."""
    least = turn.now - datetime.timedelta(seconds=turn.conf.dead_after)
    return turn.session.scalar(_overdue(), {"least": least}) is not None


@functools.cache
def _overdue() -> sa.Select[tuple[str]]:
    standing = (Host.forced_down.is_(False), Host.state != "down")
    silent = Host.last_heartbeat < bindparam("least", type_=Host.last_heartbeat.type)
    return select(Host.name).where(*standing, silent).limit(1)


class Alarm:
    """Says once that many hosts fell silent at once, and once when that is over."""

    def __init__(self) -> None:
        self._raised = False

    def note(self, spared: list[str]) -> None:
        """Say what is news.

        :param spared: the hosts that were just not judged for it
        """
        if spared and not self._raised:
            LOG.critical("Many hosts fell silent at once and are not judged: %s", ", ".join(spared))
        elif self._raised and not spared:
            LOG.warning("No longer are many hosts silent at once: hosts are judged again")
        self._raised = bool(spared)


def judge(turn: Turn) -> list[str]:
    """Judge hosts that were silent for the whole dead time; gives the names of those spared.

    When more than a share of the live hosts, and at least two, fell silent within one dead time,
    none of them is judged: then it is rather the network or the broker.
    """
    standing = (Host.forced_down.is_(False), Host.revoked.is_(False))
    hosts = turn.all(sa.select(Host).where(*standing).order_by(Host.name))
    silent = [host for host in hosts if _silence(turn, host) > _quiet_after(turn)]
    overdue = [
        host
        for host in silent
        if host.state != "down" and _silence(turn, host) > turn.conf.dead_after
    ]
    spared = [host.name for host in overdue if _is_mass(turn, host, silent, hosts)]
    for host in overdue:
        if host.name not in spared:
            _condemn(turn, host)
    return spared


def _silence(turn: Turn, host: Host) -> float:
    return (turn.now - host.last_heartbeat).total_seconds()


def _quiet_after(turn: Turn) -> float:
    return float(min(MISSED_BEATS * turn.conf.heartbeat_interval, turn.conf.dead_after))


def _is_mass(turn: Turn, host: Host, silent: list[Host], hosts: list[Host]) -> bool:
    """Whether the host is one of too many that fell silent within one dead time of each other."""
    window = turn.conf.dead_after
    mates = {
        other.name
        for other in silent
        if abs((other.last_heartbeat - host.last_heartbeat).total_seconds()) <= window
    }
    live = sum(1 for other in hosts if other.state != "down" or other.name in mates)
    return len(mates) > 1 and len(mates) > turn.conf.mass_silence * live


def _condemn(turn: Turn, host: Host) -> None:
    """The verdict is a row, set only if no heartbeat came since."""
    facts = (Host.name == host.name, Host.state == host.state)
    unheard = Host.last_heartbeat == host.last_heartbeat
    if turn.change(Host, *facts, unheard, state="down", reconcile=True):
        LOG.warning("Host %s is dead: silent since %s", host.name, host.last_heartbeat)
