"""Reading and copying files with holes: what is a hole is neither read nor written.

A digest here is a sha256 over the file's size and its blocks that are not all zero, each with its
place, so that two files have the same digest when they read the same, however their holes lie.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from compute_agent.drivers.base import Work
from paddock import failpoints

BLOCK = 64 * 1024
CHUNK = 16 * BLOCK
COPYING = "disk.copying"
"""The failpoint while a disk is on its way."""
_ZERO = bytes(BLOCK)


def data_size(stream: BinaryIO) -> int:
    """Bytes of the file that are no holes, rounded up to blocks."""
    return sum(end - start for start, end in _extents(stream))


def copy(source: BinaryIO, target: BinaryIO, work: Work, total: int) -> tuple[str, int]:
    """Write the source's blocks that are not zero at their places in the (empty) target.

    :param total: bytes told to ``work.progress`` as the whole
    :returns: the source's digest, and the bytes read
    """
    writer, done = Writer(target, _size(source)), 0
    for offset, chunk in pieces(source):
        failpoints.hit(COPYING)
        work.check()
        writer.write(offset, chunk)
        done += len(chunk)
        work.progress(done, total)
    return writer.finish(), done


def digest(stream: BinaryIO, work: Work, done: int = 0, total: int = 0) -> str:
    """The file's digest.

    :param done: bytes of the whole that were done before, for ``work.progress``
    """
    sha = _begin(_size(stream))
    for offset, chunk in pieces(stream):
        work.check()
        for place, block in _blocks(offset, chunk):
            _add(sha, place, block)
        done += len(chunk)
        work.progress(min(done, total), total)
    return sha.hexdigest()


class Writer:
    """Writes a file's data into an (empty) target, as it comes in ascending order.

    :param size: the whole file's, in bytes
    """

    def __init__(self, target: BinaryIO, size: int) -> None:
        self._target = target
        self._size = size
        self._sha = _begin(size)
        self._place = 0
        self._block = bytearray()

    def write(self, offset: int, data: bytes) -> None:
        """Take the data at ``offset``; what was left out before it is zero."""
        rest = memoryview(data)
        while rest:
            place = offset // BLOCK * BLOCK
            if place != self._place:
                self._flush()
                self._place = place
            self._block.extend(bytes(offset - place - len(self._block)))
            taken = BLOCK - len(self._block)
            self._block.extend(rest[:taken])
            rest, offset = rest[taken:], place + BLOCK

    def finish(self) -> str:
        """Give the target its size, and return the file's digest."""
        self._flush()
        self._target.truncate(self._size)
        return self._sha.hexdigest()

    def _flush(self) -> None:
        # The digest knows whole blocks only, except the file's last.
        end = min(BLOCK, self._size - self._place)
        block = bytes(self._block.ljust(end, b"\0"))
        if block != _ZERO[: len(block)]:
            _add(self._sha, self._place, block)
            self._target.seek(self._place)
            self._target.write(block)
        self._block.clear()


def _size(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size


def _begin(size: int) -> hashlib._Hash:
    return hashlib.sha256(size.to_bytes(8, "big"))


def _add(sha: hashlib._Hash, place: int, block: bytes) -> None:
    sha.update(place.to_bytes(8, "big"))
    sha.update(block)


def _blocks(offset: int, chunk: bytes) -> Iterator[tuple[int, bytes]]:
    for start in range(0, len(chunk), BLOCK):
        block = chunk[start : start + BLOCK]
        if block != _ZERO[: len(block)]:
            yield offset + start, block


def pieces(stream: BinaryIO, begin: int = 0) -> Iterator[tuple[int, bytes]]:
    """The file's data in ascending order, each with its place; what lies between is zero.

    :param begin: the place to begin at, in bytes
    """
    for start, end in _extents(stream, begin):
        for offset in range(start, end, CHUNK):
            stream.seek(offset)
            if chunk := stream.read(min(CHUNK, end - offset)):
                yield offset, chunk


def _extents(stream: BinaryIO, begin: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of the file's data, widened to whole blocks, ascending, without overlap."""
    file, end = stream.fileno(), begin
    size = os.fstat(file).st_size
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        start = max(end, start // BLOCK * BLOCK)
        hole = os.lseek(file, max(start, end), os.SEEK_HOLE)
        hole = hole if hole > start else start + 1
        end = min(-(-hole // BLOCK) * BLOCK, size)
        yield start, end
