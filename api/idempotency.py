"""Idempotency keys: the same request sent again gets the answer that it got."""

from __future__ import annotations

import hashlib
import re
import uuid

from api.call import Call
from paddock.errors import BadRequest

NAMESPACE = uuid.UUID("7c0f5d0a-6a55-5d3e-9f0e-1d4b6d1b1c6a")
HEADER = "Idempotency-Key"
DESCRIPTION = "1 to 255 printable ASCII characters"
PATTERN = "[!-~]{1,255}"
_KEY = re.compile(PATTERN)


def read_key(header: str | None, served: bool) -> str:
    """The value of ``Idempotency-Key``; empty when there is none.

    :param served: whether the operation honours it; to others' callers it must not seem so
    :raises BadRequest: it is not served, or not 1 to 255 printable ASCII characters
    """
    if header is None:
        return ""
    if not served:
        raise BadRequest(f"{HEADER} must be left out: a repeat of this request is done again.")
    if not _KEY.fullmatch(header):
        raise BadRequest(f"{HEADER} must be {DESCRIPTION}.")
    return header


def fingerprint(method: str, path: str, raw: bytes) -> str:
    """What tells two requests under one key apart."""
    digest = hashlib.sha256(f"{method} {path}\n".encode())
    digest.update(raw)
    return digest.hexdigest()


def mint(call: Call, what: str, number: int = 0) -> str:
    """A new id, which is the same again for the same project, key, purpose and number."""
    if not call.key:
        return str(uuid.uuid4())
    name = "\n".join([call.ctxt.project_id or "", call.key, what, str(number)])
    return str(uuid.uuid5(NAMESPACE, name))
