"""A disk on its way to another host: its pieces that are data, each behind its place and length.

What lies between two pieces is zero. The last one has no data, and its place is the disk's size:
without it something is missing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from compute_agent.disks import readable
from compute_agent.sparse import CHUNK, pieces

SIZE = "X-Paddock-Size"
DATA = "X-Paddock-Data"
TOLD = (SIZE, DATA)
"""Headers of the answer: bytes of the whole disk, and of what is data in it."""
BEGIN = "from"
"""The query's parameter for who has the beginning already: the place to go on from, in bytes."""
COUNT = struct.Struct(">QQ")
"""What the program that receives a disk tells: the bytes that arrived, and those that will."""
_HEAD = struct.Struct(">QI")


class BrokenOff(Exception):
    """The stream ended before the disk did, or makes no sense; the text says which."""


class Readable(Protocol):
    """What a stream arrives through."""

    def read(self, amount: int, /) -> bytes:
        """At most so many bytes; none at the end."""


def send(disk: BinaryIO, begin: int) -> Iterator[bytes]:
    """The stream of a disk from some place on.

    :raises HypervisorError: it cannot be read
    """
    with readable("Reading a disk for another host"):
        for place, data in pieces(disk, begin):
            yield _HEAD.pack(place, len(data)) + data
        # Asked for last: what a disk that shrank meanwhile no longer has must not pass for zeros.
        yield _HEAD.pack(os.fstat(disk.fileno()).st_size, 0)


def receive(stream: Readable, size: int, begin: int) -> Iterator[tuple[int, bytes]]:
    """The places and data in a stream.

    :param size: what the disk has, in bytes
    :param begin: the place that the stream goes on from
    :raises BrokenOff: see there
    """
    end = begin
    while True:
        place, length = _HEAD.unpack(_read(stream, _HEAD.size))
        if length == 0 and place == size:
            return
        if place < end or not 0 < length <= CHUNK or place + length > size:
            raise BrokenOff("it sent what is no disk")
        end = place + length
        yield place, _read(stream, length)


def _read(stream: Readable, amount: int) -> bytes:
    data = b""
    while len(data) < amount:
        more = stream.read(amount - len(data))
        if not more:
            raise BrokenOff("it broke off")
        data += more
    return data
