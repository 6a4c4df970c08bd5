"""A conductor's own row, by which the list of services shows that it lives."""

from __future__ import annotations

import importlib.metadata
import uuid

from conductor.db.models import Conductor
from conductor.turn import Turn, Turns

_NAMESPACE = uuid.UUID("6d1cbb31-7a0b-5c3e-9f5f-0b5e3a9b7c55")


class Presence:
    """Notes that this conductor lives.

    :param host: the host that it runs on
    :param name: tells it from others there; the same after a restart
    """

    def __init__(self, turns: Turns, host: str, name: str) -> None:
        self._turns = turns
        self._host = host
        self._id = str(uuid.uuid5(_NAMESPACE, f"{host}/{name}"))
        self._version = importlib.metadata.version("paddock")
        self._started = False

    def note(self) -> None:
        """Refresh the row; make it anew when it is not there."""
        self._turns.run(self._note)
        self._started = True

    def _note(self, turn: Turn) -> None:
        values = {"last_heartbeat": turn.now, "version": self._version}
        if not self._started:
            values["started_at"] = turn.now
        if turn.change(Conductor, Conductor.id == self._id, **values):
            return
        turn.add(Conductor(id=self._id, host=self._host, **{"started_at": turn.now, **values}))
