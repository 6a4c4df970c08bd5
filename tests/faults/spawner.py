"""Starts processes with their failpoints, and some of them inside something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack.processes import Record, Registry
from paddock.failpoints import VARIABLE


class Spawner(Registry):
    """A registry whose processes pass failpoints.

    :ivar wraps: name of a process → what stands before its command, from its next start on
    :ivar environments: name of a process → further variables
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._points = directory / "failpoints"
        self.wraps: dict[str, list[str]] = {}
        self.environments: dict[str, dict[str, str]] = {}

    def failpoints(self, name: str) -> Path:
        """The directory in which the process's failpoints are armed."""
        path = self._points / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def spawn(
        self,
        role: str,
        argv: Sequence[str],
        *,
        host: str = "",
        namespace: str = "",
        env: Mapping[str, str] | None = None,
        stop_signal: str = "SIGTERM",
        instance: str = "",
    ) -> Record:
        """See the base."""
        name = "-".join(part for part in (role, host, instance) if part)
        own = {VARIABLE: str(self.failpoints(name)), **self.environments.get(name, {})}
        return super().spawn(
            role,
            [*self.wraps.get(name, []), *argv],
            host=host,
            namespace=namespace,
            env={**(env or {}), **own},
            stop_signal=stop_signal,
            instance=instance,
        )
