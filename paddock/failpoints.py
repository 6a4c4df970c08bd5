"""Named points at which tests let a process crash, hang or fail; they do nothing otherwise.

The environment variable ``PADDOCK_FAILPOINTS``, read when the process starts, names a directory.
A file there, named as a point, says what happens to the first that passes it, and only to that
one: ``crash`` (SIGKILL), ``hang SECONDS`` or ``error`` (ServiceUnavailable). A number behind
that is the chance with which it happens each time that somebody passes: ``crash 0.2``. The file
gets the suffix ``.hit`` once it has happened.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from paddock.errors import ServiceUnavailable

VARIABLE = "PADDOCK_FAILPOINTS"
HIT = ".hit"


class Failpoints:
    """The armed points of a process.

    :param directory: where files arm them
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def hit(self, name: str) -> None:
        """Pass the point.

        :raises ServiceUnavailable: the file says ``error``
        """
        path = self._directory / name
        try:
            what, *figures = path.read_text().split()
            seconds = float(figures.pop(0)) if what == "hang" else 0.0
            if figures and random.random() >= float(figures[0]):  # noqa: S311
                return
            path.rename(path.with_name(f"{name}{HIT}"))
        except FileNotFoundError:  # not armed, or another was first
            return
        if what == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)
        if what == "error":
            raise ServiceUnavailable(f"A test has armed the failpoint {name}.")


def choose(directory: str | None) -> Callable[[str], None]:
    """What passes a point in this process.

    :param directory: None outside of tests
    """
    return _pass if directory is None else Failpoints(Path(directory)).hit


def _pass(_name: str) -> None:
    """Outside of tests."""


hit = choose(os.environ.get(VARIABLE))
