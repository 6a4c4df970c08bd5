"""Which process speaks for this host: a lock on its files, and the chain of epochs."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

from compute_agent.keeping import keep, kept
from paddock.errors import PaddockError
from paddock.records import Record, StepRef

MOST_TRIED = 8
"""How many epochs are offered. Were the ledger's among those that are not, its process would have
been silent through all of these starts: judged dead, any other may take over from it."""


class HostTaken(PaddockError):
    """Another agent process runs on the same state directory."""


class Epochs(Record, frozen=True, kw_only=True):
    """The last epoch that the conductor took, and the newest that were tried since."""

    accepted: str | None
    tried: list[str]


class Identity:
    """This agent process, as the conductor knows it.

    :ivar host: the host's name
    :ivar epoch: this process's uuid
    :ivar cloud_id: the cloud's uuid; empty until hello was answered
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.epoch = str(uuid.uuid4())
        self.cloud_id = ""

    def ref(self, step_id: str, attempt: int) -> StepRef:
        """Names an attempt of a step to the conductor."""
        return StepRef(host=self.host, epoch=self.epoch, step_id=step_id, attempt=attempt)


class EpochFile:
    """The host's memory of its agent processes, and the lock that keeps them from being two.

    A hello whose answer is lost may have counted. So an epoch is written down before it is tried,
    and the next process offers to replace each of those that may be the last.

    :param directory: the agent's own, on a disk that outlives the process
    :param machine_id_file: its content tells this machine from others
    :ivar machine_id: that content, known from :meth:`start` on
    """

    def __init__(self, directory: Path, machine_id_file: Path) -> None:
        self._directory = directory
        self._file = directory / "epoch"
        self._machine_id_file = machine_id_file
        self._lock: int | None = None
        self.machine_id = ""

    def start(self) -> None:
        """Take the lock.

        :raises HostTaken: another process has it
        :raises OSError: the directory or the machine's id cannot be used
        """
        self.machine_id = self._machine_id_file.read_text().strip()
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise HostTaken(f"Another agent runs on {self._directory}.") from None
        self._lock = lock

    def stop(self, timeout: float) -> None:  # noqa: ARG002 (closing does not wait)
        """Give the lock up."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def predecessors(self) -> list[str | None]:
        """Epochs that the ledger may have as the host's last, likeliest first; None: it never had
        one."""
        known = self._read()
        return [known.accepted, *reversed(known.tried)]

    def attempt(self, epoch: str) -> None:
        """Write down that this epoch is about to be tried."""
        known = self._read()
        if epoch not in known.tried:
            tried = [*known.tried, epoch][-MOST_TRIED:]
            keep(self._file, Epochs(accepted=known.accepted, tried=tried), durably=True)

    def accepted(self, epoch: str) -> None:
        """Write down that the conductor took this epoch."""
        keep(self._file, Epochs(accepted=epoch, tried=[]), durably=True)

    def _read(self) -> Epochs:
        return kept(self._file, Epochs) or Epochs(accepted=None, tried=[])
