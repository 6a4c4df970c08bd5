"""The keys of tokens as this process knows them: read anew whenever their file changes."""

from __future__ import annotations

import logging
from pathlib import Path

from paddock.token_keys import Key, ensure_keys, read_keys

LOG = logging.getLogger(__name__)
Stamp = tuple[int, int, int]


class KeyFile:
    """A file of keys, looked at before each use, so that all processes change at the same time.

    :raises OSError: it cannot be read or made
    :raises ValueError: it is not as it must be
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = ensure_keys(path)
        self._seen: Stamp | None = None

    def keys(self) -> list[Key]:
        """The keys, the one that signs first; the last good ones while the file is not right."""
        seen = self._stamp()
        if seen != self._seen:
            self._read()
            self._seen = seen
        return self._keys

    def _stamp(self) -> Stamp | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns, found.st_size

    def _read(self) -> None:
        try:
            self._keys = read_keys(self._path)
        except (OSError, ValueError) as error:
            LOG.error("The keys of tokens stay as they were: %s", error)
