"""The frame around every handler: which version serves it, what it may be sent, what it answers.

A handler is a method of a resource under :func:`operation`. It gets the call, checked, and the
path's values, and returns the answer's document. The same declaration makes the OpenAPI page.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import falcon
import msgspec

from api import bodies, idempotency
from api.call import Call, Document, call_of
from api.microversions import Differences
from api.schemas.common import JSON, UUID, Body, Query, Schema
from api.validation import Validation, refuse_controls
from paddock import logs, tickets
from paddock.errors import BadRequest, NotFound

BINARY = "application/octet-stream"
Handler = Callable[..., Document | None]
EVERYBODY = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
IDS = {"server_id": "Instance", "image_id": "Image", "drain_id": "Drain"}
_UUID = re.compile(UUID)


@dataclass(frozen=True)
class Operation:
    """What one method of one path takes and gives.

    :ivar name: unique; the table of microversions may name it
    :ivar verbs: for bodies with exactly one of several keys
    :ivar any_case: whether the keys are read in any case
    :ivar keyed: whether an idempotency key makes it safe to repeat
    :ivar answers: schemas of other answers than ``status``'s, by their status
    :ivar binary: whether a file is what it answers
    """

    name: str
    summary: str
    status: int = 200
    body: Body | None = None
    query: Query | None = None
    verbs: Mapping[str, Body] = field(default_factory=dict)
    any_case: bool = False
    keyed: bool = False
    answers: Mapping[int, Schema] = field(default_factory=dict)
    binary: bool = False


@dataclass(frozen=True)
class Frame:
    """What the frame needs.

    :ivar longest: bytes of a body
    """

    differences: Differences
    validation: Validation
    longest: int


class Resource:
    """Base of the resources; the ``public`` methods need no token."""

    public: frozenset[str] = frozenset()

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def shape(self, call: Call, resource: str, document: Document) -> Document:
        """The newest document, made that of the call's version."""
        return self.frame.differences.shape(resource, document, call.version)


def operation(
    name: str,
    summary: str,
    *,
    status: int = 200,
    body: Body | None = None,
    query: Query | None = None,
    verbs: Mapping[str, Body] | None = None,
    any_case: bool = False,
    keyed: bool = False,
    answers: Mapping[int, Schema] | None = None,
    binary: bool = False,
) -> Callable[[Handler], Callable[..., None]]:
    """Make a handler a responder; see :class:`Operation` for the arguments."""
    described = Operation(
        name, summary, status, body, query, verbs or {}, any_case, keyed, answers or {}, binary
    )

    def frame(handler: Handler) -> Callable[..., None]:
        @functools.wraps(handler)
        def respond(
            self: Resource, req: falcon.Request, resp: falcon.Response, **values: str
        ) -> None:
            call = call_of(req)
            about = {"request_id": call.request_id, "instance_id": values.get("server_id")}
            with logs.bind(project_id=call.ctxt.project_id, **about):
                _admit(self.frame, described, req, call, values)
                with logs.bind(request_id=call.request_id):
                    document = handler(self, call, **values)
            resp.status = call.status or described.status
            if document is not None:
                resp.data = msgspec.json.encode(document)
                resp.content_type = JSON
            if call.file is not None:
                _send(resp, call.file)
            resp.set_headers(call.headers)

        respond.operation = described  # type: ignore[attr-defined]
        return respond

    return frame


def _send(resp: falcon.Response, file: Path) -> None:
    """The server's loop sends it: a slow reader takes no thread."""
    stream = file.open("rb")
    resp.set_stream(stream, os.fstat(stream.fileno()).st_size)
    resp.content_type = BINARY


def _admit(
    frame: Frame, described: Operation, req: falcon.Request, call: Call, values: dict[str, str]
) -> None:
    frame.differences.check_served(described.name, call.version)
    for name, what in IDS.items():
        if name in values and not _UUID.fullmatch(values[name]):
            raise NotFound(f"{what} {values[name][:60]!a} could not be found.")
    call.subject = req.get_header("X-Subject-Token")
    call.ticket = req.get_header(tickets.HEADER) or ""
    if described.query:
        call.query = read_query(req.params, described.query)
        frame.validation.check_query(described.query, call.query, call.version)
        # What only later versions know was not checked, and is not to have an effect.
        frame.differences.shape(described.query.name, call.query, call.version)
    if req.method in ("POST", "DELETE"):
        call.key = idempotency.read_key(req.get_header(idempotency.HEADER), described.keyed)
    raw = b""
    if described.body or described.verbs:
        raw = bodies.Stream(req.bounded_stream.read, frame.longest).take()
        _read_body(frame, described, req, call, raw)
    if call.key:
        call.fingerprint = idempotency.fingerprint(req.method, req.path, raw)
        call.request_id = f"req-{idempotency.mint(call, f'request {call.fingerprint}')}"
        call.ctxt = msgspec.structs.replace(call.ctxt, request_id=call.request_id)


def read_query(params: Mapping[str, Any], query: Query) -> Document:
    """The query's values: lists for parameters that may repeat, else single strings.

    :raises BadRequest: a parameter is given twice that may come once
    """
    properties = query.schema["properties"]
    values: Document = {}
    for name, value in params.items():
        many = value if isinstance(value, list) else [value]
        if properties.get(name, {}).get("type") == "array":
            values[name] = many
        elif len(many) > 1:
            raise BadRequest(f"{name[:60]!a} is given more than once in the query.")
        else:
            values[name] = many[0]
    return values


def _read_body(
    frame: Frame, described: Operation, req: falcon.Request, call: Call, raw: bytes
) -> None:
    body = described.body or next(iter(described.verbs.values()))
    kind = bodies.media_type(req.content_type, req.get_header("Content-Encoding"), body.media)
    document = bodies.decode(raw, kind)
    if described.verbs:
        body, document = choose(described, document)
        call.verb = body.key
    frame.validation.check_body(body, document, call.version)
    call.body = document


def choose(described: Operation, document: Document) -> tuple[Body, Document]:
    """The one verb that a body names, and the body under the verb's own spelling.

    :raises BadRequest: none, more than one, or an unknown one
    """
    refuse_controls(document)
    known = ", ".join(described.verbs)
    if len(document) != 1:
        raise BadRequest(f"The body must name exactly one action of: {known}.")
    name, value = next(iter(document.items()))
    verb = name.upper() if described.any_case else name
    if verb not in described.verbs:
        raise BadRequest(f"There is no action {name[:60]!a}; there are: {known}.")
    return described.verbs[verb], {verb: value}
