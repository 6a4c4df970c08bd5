"""``paddock-manage key``: changes the keys that sign tokens, one step after the other.

A key must be known everywhere before it signs, and be known for as long as tokens of it live. So
each step is one change of the file, which is then copied to the other API hosts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oslo_config import cfg

from paddock.errors import Conflict
from paddock.token_keys import Key, ensure_keys, make_key, read_keys, write_keys


def add_key(conf: cfg.ConfigOpts, _arguments: argparse.Namespace) -> int:
    """Add a new key, which only verifies; a file that is not there is made."""
    path = _path(conf)
    known = path.exists()
    keys = ensure_keys(path)
    if known:
        keys.append(make_key())
        write_keys(path, keys)
    return _tell(keys)


def use_key(conf: cfg.ConfigOpts, _arguments: argparse.Namespace) -> int:
    """Let the key that was added last sign.

    :raises Conflict: there is only one
    """
    path = _path(conf)
    *older, newest = read_keys(path)
    if not older:
        raise Conflict(f"{path} has one key only: 'paddock-manage key add' makes the next.")
    keys = [newest, *older]
    write_keys(path, keys)
    return _tell(keys)


def drop_keys(conf: cfg.ConfigOpts, _arguments: argparse.Namespace) -> int:
    """Forget all keys but the one that signs, which ends the tokens that they signed."""
    path = _path(conf)
    keys = read_keys(path)[:1]
    write_keys(path, keys)
    return _tell(keys)


def list_keys(conf: cfg.ConfigOpts, _arguments: argparse.Namespace) -> int:
    """Show the keys' names."""
    return _tell(read_keys(_path(conf)))


def _path(conf: cfg.ConfigOpts) -> Path:
    return Path(conf.identity.key_file)


def _tell(keys: list[Key]) -> int:
    uses = ["signs", *["verifies"] * (len(keys) - 1)]
    sys.stdout.writelines(f"{key.name} {use}\n" for key, use in zip(keys, uses, strict=True))
    return 0
