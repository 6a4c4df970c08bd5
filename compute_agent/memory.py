"""The last action that this agent knew of each instance, kept over its restarts.

An observation carries it, so that the conductor can tell whether it is older than what it knows.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from paddock.records import Record


class Known(Record, frozen=True, kw_only=True):
    """The last action on this host, and the instance's generation then."""

    action_id: str
    generation: int


class LastActions:
    """A small file per instance.

    :param directory: made when it is not there
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._known = {
            path.stem: msgspec.json.decode(path.read_bytes(), type=Known)
            for path in directory.glob("*.json")
        }

    def remember(self, instance_id: str, known: Known) -> None:
        """Keep an action that begins."""
        if self._known.get(instance_id) == known:
            return
        self._known[instance_id] = known
        draft = self._directory / f"{instance_id}.draft"
        draft.write_bytes(msgspec.json.encode(known))
        draft.replace(self._path(instance_id))

    def forget(self, instance_id: str) -> None:
        """The instance is no longer on this host."""
        self._known.pop(instance_id, None)
        self._path(instance_id).unlink(missing_ok=True)

    def snapshot(self) -> dict[str, Known]:
        """What is known now, by instance."""
        return dict(self._known)

    def _path(self, instance_id: str) -> Path:
        return self._directory / f"{instance_id}.json"
