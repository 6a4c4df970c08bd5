"""Long work in parts, whose bytes count together so that its progress only grows."""

from __future__ import annotations

from compute_agent.drivers.base import Work


class Parts:
    """The line to the runner of work whose later parts are not known yet.

    :param work: the line of the whole
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._done = 0

    def begin(self) -> Work:
        """The line of the next part: its bytes count on from where the last part ended."""
        before = self._done

        def progress(done: int, total: int) -> None:
            self._done = before + done
            self._work.progress(self._done, before + total)

        return Work(progress=progress, check=self._work.check)
