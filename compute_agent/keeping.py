"""Files that are there as a whole or not at all, small records in them, and locks."""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from paddock.records import Record

R = TypeVar("R", bound=Record)
PATHS = 512
"""So many are kept."""


def keep(path: Path, record: Record, *, durably: bool = False) -> None:
    """Write the record in place of what was there.

    :param durably: whether it must survive a power cut, which takes some milliseconds
    """
    write(path, msgspec.json.encode(record), durably=durably)


def write(path: Path, content: bytes, *, durably: bool = False) -> None:
    """Replace a file as a whole; a reader sees the old content or the new.

    :param durably: see :func:`keep`
    """
    draft = _draft_of(path)
    draft.write_bytes(content)
    if durably:
        settle(draft, path)
    else:
        draft.replace(path)


@functools.lru_cache(PATHS)
def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.draft")


def paths_in(directory: Path) -> Callable[[str], Path]:
    """Gives the paths of files by their names, the same ones again: parsing a path leaves rubbish
    in the interpreter's table of strings."""
    return functools.lru_cache(PATHS)(directory.joinpath)


def kept(path: Path, kind: type[R]) -> R | None:
    """The record in the file; None when there is none, or one that another release wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def settle(draft: Path, path: Path) -> None:
    """Give a file that is whole its final name in the same directory, so that a power cut leaves
    the whole file there or none. It is written to the disk first, which takes its time.

    :raises OSError: the disk is full or broken
    """
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``: a lock among threads and processes of either backend."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
