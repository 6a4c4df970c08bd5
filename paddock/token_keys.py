"""The file of the keys that sign tokens: API processes read it, ``paddock-manage key`` changes it.

One key a line. The first signs; all of them verify, so a key that is new or old is still, or
already, believed. The file appears whole or not at all and is its owner's only (mode 0600).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from paddock.drafts import drafted

SHORTEST = 32


@dataclass(frozen=True)
class Key:
    """A key, and the name under which tokens call it."""

    secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Found out from the key itself, and no help to find out the key."""
        return hashlib.sha256(b"paddock token key " + self.secret).hexdigest()[:16]


def make_key() -> Key:
    """A new random key."""
    return Key(secrets.token_urlsafe(64).encode())


def read_keys(path: Path) -> list[Key]:
    """The keys in a file; the first is the one that signs.

    :raises OSError: it cannot be read
    :raises ValueError: others may read it, or there is no key in it, or a short one
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ValueError(f"{path} must be readable by its owner only (chmod 600)")
        lines = [line.strip() for line in file]
    keys = [Key(line) for line in lines if line]
    if not keys or min(len(key.secret) for key in keys) < SHORTEST:
        raise ValueError(f"{path} must hold keys of at least {SHORTEST} characters, one a line")
    return keys


def ensure_keys(path: Path) -> list[Key]:
    """The keys in a file, which is made with one when it is not there, whoever else makes it
    at the same time; see :func:`read_keys` for what is raised."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            drafted(path, _lines([make_key()])) as draft,
            suppress(FileExistsError),
        ):  # by another process
            os.link(draft, path)
    return read_keys(path)


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Put these keys in place of those in a file; it stays its owner's.

    :raises OSError: the file is not there, or may not be replaced
    """
    owner = path.stat()
    with drafted(path, _lines(keys)) as draft:
        if os.geteuid() == 0:
            os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(path)


def _lines(keys: Sequence[Key]) -> bytes:
    return b"".join(key.secret + b"\n" for key in keys)
