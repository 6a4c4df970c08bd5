"""One HTTP request as the handlers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import falcon

from api.microversions import MINIMUM, Version
from paddock.context import RequestContext

Document = dict[str, Any]


@dataclass
class Call:
    """What middleware and the operation's frame found out; handlers read it and return documents.

    :ivar request_id: ``req-`` and a UUID; the same for a repeat under an idempotency key
    :ivar began: on the monotonic clock, seconds
    :ivar path: as the client wrote it
    :ivar service: ``compute``, ``identity``, ``image`` or empty: whose error format is spoken
    :ivar root: scheme, host and port as the client knows them
    :ivar base: ``root`` and the service's prefix as this client used it, for links
    :ivar address: the client's, as far as it can be believed
    :ivar tenant: the project in the path, None where there is none
    :ivar version: the microversion asked for
    :ivar version_error: why there is none, raised after authentication
    :ivar ctxt: the caller; anonymous on public resources
    :ivar subject: the token in ``X-Subject-Token``
    :ivar ticket: the one in ``X-Paddock-Ticket``
    :ivar query: the query's values by name: strings, or lists for those that may repeat
    :ivar body: the body's document, validated
    :ivar verb: the one that the body names, where it names one
    :ivar fingerprint: of method, path and body, with an idempotency key
    :ivar key: the idempotency key, empty when none was sent
    :ivar status: of the answer, where the handler chooses another than declared
    :ivar headers: what the handler adds to the answer
    :ivar file: what the handler answers instead of a document
    """

    request_id: str = ""
    began: float = 0.0
    path: str = ""
    service: str = ""
    root: str = ""
    base: str = ""
    address: str = ""
    tenant: str | None = None
    version: Version = MINIMUM
    version_error: Exception | None = None
    ctxt: RequestContext = field(default_factory=RequestContext)
    subject: str | None = None
    ticket: str = ""
    query: Document = field(default_factory=dict)
    body: Document = field(default_factory=dict)
    verb: str = ""
    fingerprint: str = ""
    key: str = ""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None

    @property
    def is_admin(self) -> bool:
        """Whether answers show what Nova shows administrators only."""
        return "admin" in self.ctxt.roles


def call_of(req: falcon.Request) -> Call:
    """The call that a request carries as its context."""
    return cast(Call, req.context)
