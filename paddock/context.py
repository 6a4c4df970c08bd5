"""Who asks, and under which request: travels with every message."""

from __future__ import annotations

from typing import Any

import msgspec


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of a request.

    :ivar request_id: ``req-`` and a UUID, echoed to the client and written in every log line
    :ivar user_id: the token's user, None for a service
    :ivar user_epoch: the user's epoch in the token; the conductor refuses an older one
    :ivar project_id: the token's project
    :ivar roles: names of the roles held in that project
    :ivar address: the client's, where somebody logs in
    :ivar auth_user: the broker's user who sent the message, set by the receiving transport
    """

    request_id: str = ""
    user_id: str | None = None
    user_name: str | None = None
    user_epoch: int = 0
    project_id: str | None = None
    project_name: str | None = None
    roles: tuple[str, ...] = ()
    address: str | None = None
    auth_user: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for the wire; the broker's user is left out, since only it may say that."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        del document["auth_user"]
        return document

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> RequestContext:
        """The context on the wire; unknown keys are ignored, wrong types raise ValidationError."""
        return msgspec.convert(document, cls)
