"""Programs that help an agent: they end with it, can be stopped at any time, and say why they
failed. Not waited for by subprocess itself: under eventlet that raises errors that nobody knows."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import IO

WATCH_SECONDS = 0.05


class HelperFailed(Exception):
    """It could not be run, or did not succeed; the text is the last line of what it said."""


def run_helper(
    command: list[str],
    seconds: float,
    watch: Callable[[], None] = lambda: None,
    hears: bytes = b"",
    into: IO[bytes] | None = None,
) -> bytes:
    """Run a program to its end.

    :param seconds: how long it may take
    :param watch: called several times a second; what it raises ends the program
    :param hears: its standard input
    :param into: takes its standard output, which is returned otherwise
    :raises HelperFailed: see there
    """
    command = ["setpriv", "--pdeathsig", "KILL", *command]
    with TemporaryFile() as heard, TemporaryFile() as said, TemporaryFile() as complaint:
        heard.write(hears)
        heard.seek(0)
        try:
            with subprocess.Popen(
                command, stdin=heard, stdout=into or said, stderr=complaint
            ) as process:
                _await(process, time.monotonic() + seconds, watch)
        except OSError as error:
            raise HelperFailed(str(error.strerror)) from error
        if process.returncode:
            complaint.seek(0)
            lines = complaint.read().decode("utf-8", "replace").strip().splitlines()
            raise HelperFailed(lines[-1] if lines else f"it ended with {process.returncode}")
        said.seek(0)
        return said.read()


def _await(process: subprocess.Popen[bytes], until: float, watch: Callable[[], None]) -> None:
    try:
        while process.poll() is None:
            if time.monotonic() > until:
                raise HelperFailed("it did not end in time")
            watch()
            time.sleep(WATCH_SECONDS)
    finally:
        process.kill()
