"""The question to a host for all that it has; both sides can tell its id."""

from __future__ import annotations

import functools
import uuid

ORDER = "inventory"
"""The order in a heartbeat's answer, and the question's kind."""
_NAMESPACE = uuid.UUID("b1f4b0b7-53c0-5d53-8a53-6f0c6c9d1d6e")


@functools.lru_cache(maxsize=10_000)
def question_id(host: str) -> str:
    """The id of the question to a host; there is one at a time."""
    return str(uuid.uuid5(_NAMESPACE, host))
