"""The image store: a directory with one file for each content, named by its sha256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from conductor.image_check import check_image

BLOCK = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Stored:
    """A file in the store.

    :ivar file: its name
    :ivar checksum: its sha256 in hexadecimal
    :ivar size: in bytes
    :ivar room: GiB that a guest's disk needs for it
    """

    file: str
    checksum: str
    size: int
    room: int


class ImageStore:
    """Takes files in; a file appears whole or not at all.

    :param directory: made if need be
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, source: Path, stated: str) -> Stored:
        """Copy a file into the store, sparse where it is empty; harmless to repeat.

        :param stated: the file's format, see ``image_check.LIKENESS``
        :raises BadRequest: it is another; nothing is left
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=self._directory, prefix=".taking-")
        try:
            with source.open("rb") as reader, os.fdopen(handle, "wb") as writer:
                checksum, size = _copy(reader, writer)
            disk = check_image(Path(draft), stated)  # what was copied: the source may have changed
            Path(draft).chmod(0o644)
            Path(draft).replace(self._directory / checksum)
        finally:
            Path(draft).unlink(missing_ok=True)
        return Stored(checksum, checksum, size, -(-disk // GIB))


def _copy(reader: BinaryIO, writer: BinaryIO) -> tuple[str, int]:
    digest, size, empty = hashlib.sha256(), 0, bytes(BLOCK)
    while block := reader.read(BLOCK):
        digest.update(block)
        size += len(block)
        if block == empty[: len(block)]:
            writer.seek(len(block), os.SEEK_CUR)
        else:
            writer.write(block)
    writer.truncate(size)
    writer.flush()
    os.fsync(writer.fileno())
    return digest.hexdigest(), size
