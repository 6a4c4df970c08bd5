"""What an agent may say, whatever it is about: sizes and characters that no honest one exceeds.

Who holds an agent's credentials can write any JSON to the conductors. What passes here fits into
the ledger's columns, shows no control characters to an administrator and costs little to look at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from paddock import clients
from paddock.errors import (
    BadRequest,
    Conflict,
    HypervisorError,
    PaddockError,
    from_wire,
)
from paddock.inventory import ORDER
from paddock.records import Found

T = TypeVar("T")

TEXT = 255
ITEMS = 2000
VALUES = 100_000
"""Of one call in all: looking at so many takes a tenth of a second."""
DEPTH = 6
FACTS_BYTES = 64 * 1024
CONSOLE = 1024**2
"""Characters; an agent sends the last MiB of a console."""
DETAILS = 2000
NUMBER = 2**31 - 1
NUMBERS = {
    "vcpus": 2**16,
    "memory_mb": 2**28,
    "disk_gb": 2**24,
    "done": 2**62,
    "total": 2**62,
    "booted": 1e10,
}
"""The largest values: 256 TiB of memory, 16 PiB of disk, 4 EiB to move, 300 years of running."""
TEXTS = {"epoch": 36, "store": 1024, "landing": 1024, "reason": DETAILS}
LISTS = {"steps": 100, "outcomes": 100}
UNREAD = frozenset({"answer", "error", "extra"})
"""What :func:`answer` and :func:`error` look at, and what is bounded in size only: the ``extra``
facts may hold a hypervisor's own words, and are shown to nobody as they are."""


def check(arguments: Mapping[str, Any]) -> None:
    """Look at the arguments of an agent's call.

    :raises BadRequest: names what is too long, too large or of other characters than it may have
    """
    left = iter(range(VALUES))
    for name, value in arguments.items():
        _check(name, value, 0, left)


def _check(name: str, value: Any, depth: int, left: Iterator[int]) -> None:
    if next(left, None) is None:
        raise BadRequest(f"{name}: one call may have {VALUES} values at most.")
    if value is None or value is True or value is False or name in UNREAD:
        return
    if isinstance(value, str):
        if len(value) > TEXTS.get(name, TEXT) or not value.isprintable():
            raise _odd_text(name)
    elif isinstance(value, int | float):
        _check_number(name, value)
    elif depth == DEPTH or len(value) > LISTS.get(name, ITEMS):
        raise BadRequest(f"{name}: it has more items than one call may have, or is too deep.")
    elif isinstance(value, dict):
        _check_facts(name, value)
        for key, one in value.items():
            if len(key) > TEXT or not key.isprintable():
                raise _odd_text(f"a name in {name}")
            _check(key, one, depth + 1, left)
    else:
        for one in value:
            _check(name, one, depth + 1, left)


def _odd_text(name: str) -> BadRequest:
    longest = TEXTS.get(name, TEXT)
    return BadRequest(f"{name}: it must have {longest} characters at most, all printable.")


def _check_number(name: str, value: float) -> None:
    largest = NUMBERS.get(name, NUMBER)
    if not math.isfinite(value) or not 0 <= value <= largest:
        raise BadRequest(f"{name}: it must be a number from 0 to {largest:g}.")


def _check_facts(name: str, value: dict[str, Any]) -> None:
    if name != "facts":
        return
    try:
        size = len(json.dumps(value, allow_nan=False))
    except ValueError:
        raise BadRequest(f"{name}: no number in them may be infinite or none at all.") from None
    if size > FACTS_BYTES:
        raise BadRequest(f"{name}: they must have {FACTS_BYTES} bytes at most.")


def read(value: Any, kind: type[T]) -> T:
    """The record, or list of records, that an agent told; BadRequest when it is none."""
    try:
        return clients.read(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The message is malformed: {str(error)[:TEXT]}.") from None


def error(document: Mapping[str, Any]) -> PaddockError:
    """The error that an agent told, of the classes that may come from a host and without more than
    its sentence."""
    message = str(document.get("message") or "")[:DETAILS]
    said = "".join(one if one.isprintable() else " " for one in message)
    found = from_wire({"type": document.get("type"), "message": said})
    return found if isinstance(found, HypervisorError | Conflict) else HypervisorError(said)


def answer(kind: str, said: Any) -> dict[str, Any]:
    """A host's answer to a question, as it is kept: what that kind has, or an error.

    :param kind: ``console`` or ``inventory``
    :raises BadRequest: it is neither
    """
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        return {"error": error(said["error"]).to_wire()}
    ok = said.get("ok") if isinstance(said, dict) else None
    if kind == ORDER:
        check({"found": ok})
        return {"ok": clients.wire(read(ok, list[Found]))}
    output = ok.get("output") if isinstance(ok, dict) else None
    if not isinstance(output, str) or len(output) > CONSOLE:
        raise BadRequest(f"answer: a console has a text of at most {CONSOLE} characters.")
    return {"ok": {"output": output}}
