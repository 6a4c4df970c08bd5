"""A disk's stream is taken only whole, in order and with what the disk can have."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import pytest

from compute_agent.disk_stream import BrokenOff, receive, send
from compute_agent.sparse import BLOCK, CHUNK
from paddock.errors import HypervisorError

HEAD = struct.Struct(">QI")
SIZE = 3 * BLOCK


def piece(place: int, data: bytes) -> bytes:
    return HEAD.pack(place, len(data)) + data


END = piece(SIZE, b"")


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, CHUNK + 511, 2 * CHUNK])
def test_a_disk_of_any_size_goes_on_from_anywhere(tmp_path: Path, size: int) -> None:
    disk = tmp_path / "disk"
    content = random.Random(size).randbytes(size)
    disk.write_bytes(content)
    for begin in {0, size // 2, size}:
        with disk.open("rb") as source:
            stream = io.BytesIO(b"".join(send(source, begin)))
        copy = bytearray(content[:begin].ljust(size, b"\0"))
        for place, data in receive(stream, size, begin):
            assert place >= begin
            copy[place : place + len(data)] = data
        assert copy == content


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        END[:-1],
        piece(0, b"x" * 9),
        piece(0, b"x" * 9)[:-1],
        piece(SIZE - 1, b""),
        piece(SIZE + 1, b""),
        piece(SIZE, b"x") + END,
        piece(SIZE - 1, b"xx") + END,
        piece(9, b"x" * 9) + piece(17, b"x") + END,
        piece(0, b"x" * (CHUNK + 1)) + END,
        HEAD.pack(0, 2**32 - 1),
        HEAD.pack(2**64 - 1, 1) + b"x" + END,
    ],
)
def test_what_is_no_whole_disk_is_refused(stream: bytes) -> None:
    with pytest.raises(BrokenOff):
        list(receive(io.BytesIO(stream), SIZE, 0))


def test_what_arrived_before_does_not_come_again() -> None:
    with pytest.raises(BrokenOff):
        list(receive(io.BytesIO(piece(0, b"x") + END), SIZE, BLOCK))


def test_a_disk_that_cannot_be_read_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"x")
    with (
        disk.open("ab") as unreadable,
        pytest.raises(HypervisorError, match="Reading a disk for another host failed: "),
    ):
        list(send(unreadable, 0))
