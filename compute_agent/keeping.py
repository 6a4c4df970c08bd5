"""Small records in files of the agent's own, replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from paddock.records import Record

R = TypeVar("R", bound=Record)


def keep(path: Path, record: Record, *, durably: bool = False) -> None:
    """Write the record in place of what was there.

    :param durably: whether it must survive a power cut, which takes some milliseconds
    """
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(record))
        if durably:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(path)


def kept(path: Path, kind: type[R]) -> R | None:
    """The record in the file; None when there is none, or one that another release wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
