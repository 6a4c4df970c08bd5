"""Lines for the log from threads that must not log themselves."""

from __future__ import annotations

import logging
import threading

from paddock.runtime import Handover

LOG = logging.getLogger(__name__)


class Notes:
    """Takes lines from any thread and logs them in one of its own.

    Made where the process is put together, so that its thread is of the chosen backend's kind.

    :param host: named in every line
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._lines: Handover[str] = Handover()
        threading.Thread(target=self._write, name="libvirt-notes", daemon=True).start()

    def put(self, line: str) -> None:
        """Log this line soon."""
        self._lines.put(line)

    def close(self) -> None:
        """Log what is left, and end."""
        self._lines.close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            LOG.info("%s: %s", self._host, line)
