"""Signing in, as the identity API's version 3 has it."""

from __future__ import annotations

from api.schemas.common import Body, Query, Schema, nullable, one_of, record, text

_DOMAIN = record({"id": text(64, 1), "name": text(64, 1)}, minProperties=1,
                 description="a domain with id or name")  # fmt: skip
_OWNER = {"id": text(255, 1), "name": text(255, 1), "domain": _DOMAIN}
_USER = record(
    _OWNER | {"password": text(4096)}, ("password",),
    anyOf=[{"required": ["id"]}, {"required": ["name"]}],
    description="a user with id, or name and domain, and the password",
)  # fmt: skip
_PROJECT = record(
    _OWNER,
    anyOf=[{"required": ["id"]}, {"required": ["name"]}],
    description="a project with id, or name and domain",
)
_METHODS: Schema = {
    "type": "array",
    "items": one_of("password", "token"),
    "minItems": 1,
    "maxItems": 1,
    "description": "a list that holds password or token",
}
SIGN_IN = Body(
    "sign-in",
    "auth",
    record(
        {
            "identity": record(
                {
                    "methods": _METHODS,
                    "password": record({"user": _USER}, ("user",)),
                    "token": record({"id": text(8192, 1)}, ("id",)),
                },
                ("methods",),
            ),
            "scope": {
                "if": {"type": "string"},
                "then": one_of("unscoped"),
                "else": record(
                    {"project": _PROJECT}, ("project",),
                    description="an object with project; other scopes are not served",
                ),
                "description": "an object with project",
            },
        },
        ("identity",),
    ),
    secret=True,
)  # fmt: skip
TOKEN = Query("token?", record({"nocatalog": nullable(text(16)), "allow_expired": text(16)}))
