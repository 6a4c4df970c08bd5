"""``/openapi.json``: the routes and schemas that this process really uses, as OpenAPI 3.1."""

from __future__ import annotations

import re
from collections.abc import Mapping

from api import idempotency
from api.call import Call, Document
from api.microversions import MAXIMUM, MINIMUM, show
from api.middleware import NEW_HEADER
from api.operations import BINARY, EVERYBODY, Frame, Operation, Resource, operation
from api.paths import COMPUTE
from api.schemas.common import JSON, XML, Body, Schema
from api.validation import DIALECT, full_schema
from paddock import tickets

METHODS = ("get", "put", "post", "delete", "head")
UUIDS = ("server_id", "image_id", "drain_id")
FAULT: Schema = {
    "type": "object",
    "description": "one key, which names the kind of error",
    "additionalProperties": {
        "type": "object",
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
        "required": ["code", "message"],
    },
}
MICROVERSION: Document = {
    "name": NEW_HEADER,
    "in": "header",
    "required": False,
    "description": f"compute and a microversion from {show(MINIMUM)} to {show(MAXIMUM)}, "
    f"or latest; {show(MINIMUM)} when it is left out",
    "schema": {
        "type": "string",
        "pattern": "^compute (latest|2\\.[1-9][0-9]?)$",
        "examples": [f"compute {show(MAXIMUM)}"],
    },
}
KEY: Document = {
    "name": idempotency.HEADER,
    "in": "header",
    "required": False,
    "description": f"{idempotency.DESCRIPTION}; the same request with the same key is done once "
    "and answered as it was",
    "schema": {"type": "string", "pattern": f"^{idempotency.PATTERN}$"},
}
TICKET: Document = {
    "name": tickets.HEADER,
    "in": "header",
    "required": True,
    "description": "what the host was given with its work",
    "schema": {"type": "string"},
}
SUBJECT: Document = {
    "name": "X-Subject-Token",
    "in": "header",
    "required": True,
    "description": "the token that is asked about",
    "schema": {"type": "string"},
}
ASK_ABOUT_TOKENS = ("token-show",)


class OpenApi(Resource):
    """The document, made once.

    :param routes: every path and its resource
    :param version: Paddock's release
    """

    public = EVERYBODY

    def __init__(self, frame: Frame, routes: Mapping[str, Resource], version: str) -> None:
        super().__init__(frame)
        self._routes = routes
        self._version = version
        self._document: Document = {}

    @operation("openapi", "Describe this API")
    def on_get(self, call: Call) -> Document:
        """The newest microversion of every operation."""
        if not self._document:
            self._document = self._describe()
        return self._document | {"servers": [{"url": call.root}]}

    def _describe(self) -> Document:
        paths: Document = {}
        for path, resource in self._routes.items():
            found = {method: _operation(resource, method) for method in METHODS}
            methods = {method: each for method, each in found.items() if each}
            paths[path] = _parameters(path) | {
                method: self._one(each, resource, method, path) for method, each in methods.items()
            }
        return {
            "openapi": "3.1.0",
            "jsonSchemaDialect": DIALECT,
            "info": {"title": "Paddock", "version": self._version,
                     "description": f"Compute API, microversion {show(MAXIMUM)}"},
            "paths": paths,
            "components": {
                "securitySchemes": {
                    "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}
                },
                "schemas": {"Fault": FAULT},
            },
        }  # fmt: skip

    def _one(self, each: Operation, resource: Resource, method: str, path: str) -> Document:
        document: Document = {
            "operationId": f"{each.name}-{_slug(path)}",
            "summary": each.summary,
            "responses": {str(each.status): _usual(each)} | _others(each),
            "security": [] if method.upper() in resource.public else [{"token": []}],
        }
        own = [*([KEY] if each.keyed else []), *([TICKET] if each.binary else [])]
        if parameters := _query(each) + own:
            document["parameters"] = parameters
        if each.body or each.verbs:
            document["requestBody"] = self._body(each)
        return document

    def _body(self, each: Operation) -> Document:
        bodies = [each.body] if each.body else list(each.verbs.values())
        schemas = [self._schema(body) for body in bodies]
        schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
        return {
            "required": True,
            "content": {media: {"schema": schema} for media in bodies[0].media},
        }

    def _schema(self, body: Body) -> Schema:
        return full_schema(body, self.frame.differences, MAXIMUM)


def _operation(resource: Resource, method: str) -> Operation | None:
    responder = getattr(resource, f"on_{method}", None)
    found: Operation | None = getattr(responder, "operation", None)
    return found


def _parameters(path: str) -> Document:
    names = re.findall(r"{(\w+)}", path)
    rows = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"} | ({"format": "uuid"} if name in UUIDS else {}),
        }
        for name in names
    ]
    if path.startswith(f"{COMPUTE}/"):
        rows.append(MICROVERSION)
    return {"parameters": rows} if rows else {}


def _query(each: Operation) -> list[Document]:
    properties = each.query.schema["properties"] if each.query else {}
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]


def _usual(each: Operation) -> Document:
    found: Document = {"description": "done or accepted"}
    return found | ({"content": {BINARY: {}}} if each.binary else {})


def _others(each: Operation) -> Document:
    """Answers beside the usual one."""
    more = {
        str(status): {
            "description": schema["description"],
            "content": {JSON: {"schema": schema}},
        }
        for status, schema in each.answers.items()
    }
    return more | {"4XX": _fault(), "5XX": _fault()}


def _fault() -> Document:
    schema = {"$ref": "#/components/schemas/Fault"}
    return {"description": "refused or failed", "content": {JSON: {"schema": schema}, XML: {}}}


def _slug(path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
