"""The last action that this agent knew of each instance, kept over its restarts.

An observation carries it, so that the conductor can tell whether it is older than what it knows.
"""

from __future__ import annotations

from pathlib import Path

from compute_agent.keeping import keep, kept, paths_in
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
        self._path_of = paths_in(directory)
        directory.mkdir(parents=True, exist_ok=True)
        found = {path.stem: kept(path, Known) for path in directory.glob("*.json")}
        self._known = {key: known for key, known in found.items() if known is not None}

    def remember(self, instance_id: str, known: Known) -> None:
        """Keep an action that begins."""
        if self._known.get(instance_id) == known:
            return
        self._known[instance_id] = known
        keep(self._path(instance_id), known)

    def forget(self, instance_id: str) -> None:
        """The instance is no longer on this host."""
        self._known.pop(instance_id, None)
        self._path(instance_id).unlink(missing_ok=True)

    def snapshot(self) -> dict[str, Known]:
        """What is known now, by instance."""
        return dict(self._known)

    def _path(self, instance_id: str) -> Path:
        return self._path_of(f"{instance_id}.json")
