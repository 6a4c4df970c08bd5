"""The files of serial consoles: read from the end, kept small."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from compute_agent.disks import readable

LOG = "console.log"
READ_BYTES = 1024**2
MOST_BYTES = 8 * 1024**2


class Consoles:
    """A directory with ``console.log`` of each guest in one of its own.

    :param root: the directory; made when it is not there
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def path(self, instance_id: str) -> Path:
        """The guest's console log; its directory is there afterwards."""
        path = self._root / instance_id / LOG
        path.parent.mkdir(exist_ok=True)
        return path

    def read(self, instance_id: str, length: int | None) -> str:
        """The last ``length`` lines, all for None, of at most the last MiB."""
        path = self._root / instance_id / LOG
        with readable(f"Reading the console of {instance_id}"):
            if not path.exists():
                return ""
            lines = _tail(path).decode("utf-8", "replace").replace("\r\n", "\n").splitlines(True)
        return "".join(lines if length is None else lines[-length:] if length > 0 else [])

    def trim(self) -> None:
        """Keep only the last MiB of logs that have grown large; QEMU appends to what is left."""
        with readable("Trimming consoles"):
            for path in self._root.glob(f"*/{LOG}"):
                _trim(path)

    def remove(self, instance_id: str) -> None:
        """Remove the guest's log."""
        folder = self._root / instance_id
        with readable(f"Removing the console of {instance_id}"):
            if folder.exists():
                for entry in folder.iterdir():
                    entry.unlink(missing_ok=True)
                folder.rmdir()


def _trim(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # its guest was just removed
        if path.stat().st_size > MOST_BYTES:
            kept = _tail(path)
            with path.open("r+b") as stream:
                stream.truncate(0)
                stream.write(kept)


def _tail(path: Path) -> bytes:
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - READ_BYTES))
        return stream.read(READ_BYTES)
