"""The base of all records."""

from __future__ import annotations

from typing import Annotated

import msgspec

RpcVersion = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}$")]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the records."""
