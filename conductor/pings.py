"""Probes of the way to each agent: a nonce is cast there and called back.

The nonce begins with the time it was minted, so that conductors take turns without a leader. One
that waits for its pong has a dot in it.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from conductor.agents import speaking
from conductor.db.models import Host
from conductor.db.statements import More
from conductor.turn import Turn, Turns

Ping = Callable[[str, str], None]


class Pinger:
    """Casts the probes that are due.

    :param ping: casts a nonce to a host; must not wait
    """

    def __init__(self, turns: Turns, ping: Ping) -> None:
        self._turns = turns
        self._ping = ping

    def round(self) -> None:
        """Probe each living host whose last probe is old; count the one that got no answer."""
        if self._turns.read(_due):
            for host, nonce in self._turns.run(_mint):
                self._ping(host, nonce)


def _mint(turn: Turn) -> list[tuple[str, str]]:
    minted = [(host, _renew(turn, host, nonce)) for host, nonce in _due(turn)]
    return [(host, nonce) for host, nonce in minted if nonce is not None]


def _due(turn: Turn) -> list[tuple[str, str | None]]:
    """Names and nonces; hosts' facts are large and not needed."""
    rows = turn.session.execute(_living()).tuples()
    return [(host, nonce) for host, nonce in rows if _is_due(turn, nonce)]


@functools.cache
def _living() -> sa.Select[tuple[str, str | None]]:
    return select(Host.name, Host.nonce).where(Host.state != "down").order_by(Host.name)


def _is_due(turn: Turn, nonce: str | None) -> bool:
    minted = int(nonce.split(".")[0], 16) if nonce else 0
    return bool(_milliseconds(turn.now) - minted >= 1000 * turn.conf.ping_interval)


def _milliseconds(moment: datetime.datetime) -> int:
    return int(moment.replace(tzinfo=datetime.UTC).timestamp() * 1000)


def _renew(turn: Turn, host: str, last: str | None) -> str | None:
    """The new nonce, None when another conductor was first."""
    missed = last is not None and "." in last
    nonce = f"{_milliseconds(turn.now):x}.{turn.random.getrandbits(64):016x}"
    changes: dict[str, Any] = {"nonce": nonce} | ({"nonce_misses": More(1)} if missed else {})
    return nonce if turn.change(Host, {"name": host, "nonce": last}, **changes) else None


def pong(turn: Turn, host: str, epoch: str, nonce: str) -> None:
    """The agent heard the probe; an old answer is dropped.

    :raises Forbidden: the host is revoked
    :raises StaleEpoch: the caller is not the host's newest agent
    """
    facts = {"name": host, "epoch": epoch, "revoked": False, "nonce": nonce}
    if not turn.change(Host, facts, nonce=nonce.split(".")[0], nonce_misses=0):
        speaking(turn, host, epoch)
