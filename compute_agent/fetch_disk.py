"""Has a disk from another host's agent: a program that the agent runs and can stop at any time.

Standard input is a JSON object: ``url``, ``ticket``, ``authority``, ``certificate`` (see
``compute_agent.download``), ``path``, an empty file that is filled, and ``most``, the bytes that
the disk may have. Standard output is a file that begins with the bytes that arrived and those that
will, and ends with the digest of all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, BinaryIO

import requests
import urllib3

from compute_agent import disk_stream
from compute_agent.disk_stream import COUNT
from compute_agent.download import Refused, Wanted, begin, new_session, run
from compute_agent.sparse import Writer

TRIES = 3
"""Without a byte between them."""


class Fetch:
    """One disk on its way here; what broke off goes on where it was.

    :param target: the disk's file
    :param told: see ``COUNT``
    """

    def __init__(self, wanted: Wanted, target: BinaryIO, told: IO[bytes]) -> None:
        self._wanted = wanted
        self._session = new_session(wanted)
        self._target = target
        self._told = told
        self._writer: Writer | None = None
        self._size = self._total = self._done = self._end = 0

    def run(self) -> None:
        """Fill the target.

        :raises Refused: it is not given, or what is given is no disk
        :raises requests.RequestException: the host cannot be reached
        """
        tries = 0
        while True:
            before = self._end
            try:
                writer = self._receive()
                break
            except (disk_stream.BrokenOff, urllib3.exceptions.HTTPError) as error:
                tries = 1 if self._end > before else tries + 1
                if tries == TRIES:
                    raise Refused(str(error)) from error
        self._told.seek(COUNT.size)
        self._told.write(writer.finish().encode())
        self._target.flush()

    def _receive(self) -> Writer:
        with begin(self._session, self._wanted, **{disk_stream.BEGIN: self._end}) as answer:
            writer = self._prepare(answer)
            for place, data in disk_stream.receive(answer.raw, self._size, self._end):
                writer.write(place, data)
                self._end = place + len(data)
                self._done += len(data)
                self._tell()
        return writer

    def _prepare(self, answer: requests.Response) -> Writer:
        try:
            size, data = (int(answer.headers[name]) for name in disk_stream.TOLD)
        except (KeyError, ValueError):
            raise Refused("it does not say how large the disk is") from None
        most = self._wanted["most"]
        if not 0 <= data <= size <= most:
            raise Refused(f"the disk cannot have {data} of {size} bytes, with {most} at most")
        if self._writer is None:
            self._size, self._total = size, data
            self._writer = Writer(self._target, size)
            self._tell()
        elif size != self._size:
            raise Refused("the disk has another size than before")
        return self._writer

    def _tell(self) -> None:
        self._told.seek(0)
        self._told.write(COUNT.pack(self._done, self._total))
        self._told.flush()


def fetch(wanted: Wanted) -> None:
    """Do what standard input says; see :class:`Fetch`."""
    with Path(wanted["path"]).open("r+b") as target:
        Fetch(wanted, target, sys.stdout.buffer).run()


if __name__ == "__main__":
    sys.exit(run(fetch))
