"""The embedded profile: the whole cloud in one process, from its start to its first answer."""

import contextlib
import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.cloud import set_size
from bench.figures import Figures
from devstack.embedded import ROLE, Embedded
from devstack.place import API_ADDRESS, FORCED, PORT, Place
from devstack.ports import free_ports
from devstack.processes import family
from devstack.teardown import take_down

LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 60.0
SETTLE_SECONDS = 3.0


def measure_embedded(figures: Figures, starts: int) -> None:
    """Start it in an empty directory, then so many times with what is there by then."""
    port = free_ports(1)
    with (
        tempfile.TemporaryDirectory(prefix="paddock-bench-") as directory,
        _environment({FORCED: "fake", PORT: str(port)}),
    ):
        place = Place(Path(directory) / ".paddock")
        place.directory.mkdir()
        for number in range(starts + 1):
            name = "answer from nothing" if number else "answer from an empty directory"
            with _started(place, port) as (cloud, seconds):
                figures.add(f"first {name}", "s", seconds)
                time.sleep(SETTLE_SECONDS)
                record = cloud.registry.find(ROLE)
                assert record is not None
                size = sum(map(set_size, family(record.pid)))
                figures.add("memory idle, all", "MiB", size / 2**20)


@contextmanager
def _started(place: Place, port: int) -> Iterator[tuple[Embedded, float]]:
    """The cloud, and the seconds until it answered; what it says of itself is not shown."""
    cloud = Embedded(place)
    answered: list[float] = []
    watch = threading.Thread(target=_await_answer, args=(port, answered))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            begun = time.monotonic()
            watch.start()
            cloud.start()
        watch.join()
        yield cloud, answered[0] - begun
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            take_down(place.directory)


def _await_answer(port: int, answered: list[float]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        connection = HTTPConnection(API_ADDRESS, port, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
            connection.request("GET", "/")
            if connection.getresponse().status < 500:
                answered.append(time.monotonic())
                return
        time.sleep(LOOK_SECONDS)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    former = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(former)
