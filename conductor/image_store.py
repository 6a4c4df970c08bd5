"""The image store: a directory with one file for each content, named by its sha256."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

FORMATS = ("raw", "qcow2", "aki", "ari")
BLOCK = 1 << 20
GIB = 1 << 30
_QCOW2 = struct.Struct(">4sIQIIQ")
"""Magic, version, offset and size of the backing file's name, cluster bits, virtual size."""


@dataclass(frozen=True)
class Stored:
    """A file in the store: its name, its sha256 in hexadecimal, and its size in bytes."""

    file: str
    checksum: str
    size: int


class ImageStore:
    """Takes files in; a file appears whole or not at all.

    :param directory: made if need be
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, source: Path) -> Stored:
        """Copy a file into the store, sparse where it is empty; harmless to repeat."""
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=self._directory, prefix=".taking-")
        try:
            with source.open("rb") as reader, os.fdopen(handle, "wb") as writer:
                checksum, size = _copy(reader, writer)
            Path(draft).chmod(0o644)
            Path(draft).replace(self._directory / checksum)
        finally:
            Path(draft).unlink(missing_ok=True)
        return Stored(checksum, checksum, size)


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


def disk_size(file: Path, stated: str) -> int:
    """The GiB that a guest's disk needs for the image.

    :param stated: the format, ``raw`` or ``qcow2``
    :raises ValueError: the file is not what is stated, or refers to another file
    """
    size = file.stat().st_size
    if stated == "qcow2":
        size = _virtual_size(file)
    return -(-size // GIB)


def _virtual_size(file: Path) -> int:
    with file.open("rb") as stream:
        header = stream.read(_QCOW2.size)
    if len(header) < _QCOW2.size or not header.startswith(b"QFI\xfb"):
        raise ValueError(f"{file} is not a qcow2 image")
    _, _, backing, _, _, size = _QCOW2.unpack(header)
    if backing:
        raise ValueError(f"{file} refers to a backing file; flatten it with qemu-img convert")
    return int(size)
