"""A conductor's own row, by which others see that it lives and which RPC version it serves."""

from __future__ import annotations

import datetime
import importlib.metadata
import uuid
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from conductor.db.models import Conductor
from conductor.turn import Turn, Turns
from paddock.certificates import CERTIFICATES_END, first_end
from paddock.clients import CONTRACT
from paddock.errors import Conflict
from paddock.versions import FIRST, is_foreign, lowest

_NAMESPACE = uuid.UUID("6d1cbb31-7a0b-5c3e-9f5f-0b5e3a9b7c55")


class Presence:
    """Notes that this conductor lives, and what all living ones serve.

    :param host: the host that it runs on
    :param name: tells it from others there; the same after a restart
    :param rpc_version: the newest that it serves
    :param certificates: files whose first end is noted, too
    """

    def __init__(
        self, turns: Turns, host: str, name: str, rpc_version: str = CONTRACT.version,
        certificates: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self._turns = turns
        self._host = host
        self._id = str(uuid.uuid5(_NAMESPACE, f"{host}/{name}"))
        self._version = importlib.metadata.version("paddock")
        self._rpc_version = rpc_version
        self._certificates = certificates
        self._started = False
        self._lowest = FIRST

    def refuse_strangers(self) -> None:
        """Raise Conflict when conductors of another major RPC version live."""
        for other in self._turns.read(_living):
            if other.id != self._id and is_foreign(other.rpc_version, self._rpc_version):
                raise Conflict(
                    f"The conductor on host {other.host} has RPC version {other.rpc_version}, "
                    f"this one {self._rpc_version}: different major versions do not work together, "
                    "so stop all conductors and agents of one of them first."
                )

    def lowest(self) -> str:
        """The RPC version that all living conductors serve, as of the last note."""
        return self._lowest

    def note(self) -> None:
        """Refresh the row; make it anew when it is not there."""
        self._lowest = self._turns.run(self._note)
        self._started = True

    def _note(self, turn: Turn) -> str:
        end = first_end(self._certificates)
        values: dict[str, str | datetime.datetime | None] = {
            "last_heartbeat": turn.now,
            "version": self._version,
            "rpc_version": self._rpc_version,
            CERTIFICATES_END: end and end.replace(tzinfo=None),
        }
        if not self._started:
            values["started_at"] = turn.now
        if not turn.change(Conductor, Conductor.id == self._id, **values):
            values["started_at"] = turn.now
            turn.add(Conductor(id=self._id, host=self._host, **values))
        return lowest(one.rpc_version for one in _living(turn))


def _living(turn: Turn) -> Sequence[Conductor]:
    since = turn.now - datetime.timedelta(seconds=turn.conf.dead_after)
    return turn.all(sa.select(Conductor).where(Conductor.last_heartbeat > since))
