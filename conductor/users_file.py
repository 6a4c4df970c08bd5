"""Users and passwords from files that only their owner can read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from conductor.bootstrap import Account
from paddock.errors import BadRequest


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    project: str
    role: str
    password: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    users: list[_Entry]


def read_users(path: Path) -> list[Account]:
    """The users of a YAML file: ``users``, a list with name, project, role and password each.

    :raises BadRequest: others may read the file, or it is not like that
    """
    try:
        document: Any = yaml.safe_load(_read_private(path))
    except yaml.YAMLError:
        raise BadRequest(f"{path} is not YAML.") from None  # the parser's text has the content
    try:
        entries = msgspec.convert(document, _File).users
    except msgspec.ValidationError as error:
        raise BadRequest(f"{path}: {error}") from None
    return [Account(one.name, one.project, one.role, one.password) for one in entries]


def read_password(source: str) -> str:
    """A password: the first line of a file, or of standard input for ``-``.

    :raises BadRequest: others may read the file
    """
    text = sys.stdin.readline() if source == "-" else _read_private(Path(source))
    return text.splitlines()[0] if text else ""


def _read_private(path: Path) -> str:
    with path.open() as file:
        if path.stat().st_mode & 0o077:
            raise BadRequest(f"{path} holds passwords: make it its owner's only (chmod 600).")
        return file.read()
