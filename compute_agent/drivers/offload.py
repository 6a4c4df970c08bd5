"""Keeps a driver's calls off the green threads."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from compute_agent.drivers.base import CAPABILITIES, Driver
from paddock.runtime import is_green, run_blocking


def offload(driver: Driver) -> Driver:
    """Let every call from outside go through a native thread, where this process is green.

    With native threads the driver stays as it is. The driver's methods then may neither log nor
    touch locks or queues made outside of them.

    :returns: the same driver, so that its capabilities stay those of its bases
    """
    if is_green():
        for name in _primitives(driver):
            setattr(driver, name, _offloaded(getattr(driver, name)))
    return driver


def _primitives(driver: Driver) -> set[str]:
    bases = [Driver, *(kind for kind in CAPABILITIES if isinstance(driver, kind))]
    return {name for base in bases for name in vars(base) if _is_own(type(driver), base, name)}


def _is_own(kind: type, base: type, name: str) -> bool:
    """Whether it is a primitive of the driver's own: what a base does, it does by primitives."""
    found = getattr(kind, name)
    return inspect.isfunction(found) and not name.startswith("_") and found is not vars(base)[name]


def _offloaded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return run_blocking(functools.partial(method, *args, **kwargs))

    return call
