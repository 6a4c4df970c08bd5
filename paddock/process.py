"""A role as a process of its own: its configuration, its logs, its service."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from functools import partial

from oslo_config import cfg

from paddock import config, logs
from paddock.errors import PaddockError
from paddock.service import Service, run_until_signal

M_MMAP_THRESHOLD = -3
LARGE = 1024**2
"""Bytes of a block that a process gives back as soon as it is free."""


def run(role: str, build: Callable[[cfg.ConfigOpts], Service]) -> int:
    """Run a role until SIGTERM, configured by the command line.

    :param role: ``api``, ``conductor`` or ``compute``
    :param build: makes the role's service of its configuration
    :returns: exit status: 1 when it cannot start, which is said in one sentence
    """
    return run_prepared(role, lambda conf: partial(run_until_signal, build(conf)))


def run_prepared(role: str, prepare: Callable[[cfg.ConfigOpts], Callable[[], int]]) -> int:
    """Run a role that says itself how it runs.

    :param prepare: gives what runs it and returns its exit status
    :returns: exit status: 1 when it cannot start, which is said in one sentence
    """
    _give_back_large_blocks()
    try:
        conf = config.load(sys.argv[1:])
        logs.set_up(conf, role)
        go = prepare(conf)
    except (PaddockError, OSError, ValueError, cfg.Error) as error:
        sys.stderr.write(f"paddock-{role} cannot start: {' '.join(str(error).split())}\n")
        return 1
    _set_aside_what_stays()
    return go()


def _give_back_large_blocks() -> None:
    """Without this, glibc keeps ever larger ones (mallopt(3)): each thread that checked a password
    kept the 19 MiB which that takes."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_MMAP_THRESHOLD, LARGE)


def _set_aside_what_stays() -> None:
    """Have the collector leave out modules and parts, which last as long as the process.

    It looks at everything only when a quarter as much has come, so with them rubbish piles up; and
    processes that fork share their pages for longer (gc.freeze).
    """
    gc.collect()
    gc.freeze()
