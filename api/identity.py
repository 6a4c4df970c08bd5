"""Signing in with a password or a token, and showing tokens, as the identity API has it."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import falcon
import msgspec

from api.call import Call, Document
from api.operations import Frame, Resource, operation
from api.schemas.identity import SIGN_IN, TOKEN
from api.tokens import Claims, Tokens
from paddock.clients import CatalogClient
from paddock.errors import BadRequest, NotFound, TooManyRequests, Unauthorized

DOMAIN = {"id": "default", "name": "Default"}
NAMESPACE = uuid.UUID("f3d9d5f6-2a5c-5b7f-8f53-8c6a3a7f9b11")
SERVICES = (
    ("identity", "keystone", "/identity"),
    ("compute", "nova", "/compute/v2.1"),
    ("image", "glance", "/image"),
)


class SignIn:
    """Turns a sign-in into a token.

    :param region: the region's name in the catalog
    """

    def __init__(self, catalog: CatalogClient, tokens: Tokens, region: str) -> None:
        self._catalog = catalog
        self._tokens = tokens
        self._region = region

    def sign_in(self, call: Call, auth: Document) -> tuple[str, Document]:
        """Check what was sent; a token and its document.

        :raises BadRequest: what the method needs is missing
        :raises Unauthorized: wrong user, password, project or token
        :raises TooManyRequests: too many log-ins of that user failed here
        """
        method = auth["identity"]["methods"][0]
        if method not in auth["identity"]:
            raise BadRequest(f"auth.identity.{method} is missing.")
        if method == "token":
            return self._by_token(call, auth)
        return self._by_password(call, auth)

    def _by_password(self, call: Call, auth: Document) -> tuple[str, Document]:
        user = auth["identity"]["password"]["user"]
        named = _named(user, "user")
        project = _named(_project(auth), "project")
        ctxt = msgspec.structs.replace(call.ctxt, address=call.address)
        try:
            identity = self._catalog.authenticate(ctxt, named, user["password"], project)
        except Unauthorized as error:
            if (seconds := error.kwargs.get("retry_after")) is None:
                raise
            raise TooManyRequests(error.message, retry_after=int(seconds)) from None
        token, claims = self._tokens.issue(identity, ["password"])
        return token, self.describe(claims, call.root)

    def _by_token(self, call: Call, auth: Document) -> tuple[str, Document]:
        old = self._tokens.read(auth["identity"]["token"]["id"])
        project = _named(_project(auth), "project") if "scope" in auth else {"id": old.project_id}
        identity = self._catalog.identify(old.context(call.request_id), project)
        methods = sorted({*old.methods, "token"})
        token, claims = self._tokens.issue(identity, methods, latest=old.exp)
        return token, self.describe(claims, call.root)

    def confirm(self, call: Call) -> None:
        """See that the caller still has the token, where the conductor is asked nothing else.

        :raises Unauthorized: its user was disabled or changed the password
        """
        self._catalog.identify(call.ctxt, {})

    def check(self, call: Call, token: str) -> Claims:
        """What a token says, once the conductor has said that its user still has it."""
        claims = self._tokens.read(token)
        self._catalog.identify(claims.context(call.request_id), {"id": claims.project_id})
        return claims

    def describe(self, claims: Claims, root: str, *, with_catalog: bool = True) -> Document:
        """The token's document."""
        document = {
            "methods": claims.methods,
            "user": {
                "domain": DOMAIN,
                "id": claims.sub,
                "name": claims.user_name,
                "password_expires_at": None,
            },
            "audit_ids": [claims.jti],
            "expires_at": _time(claims.exp),
            "issued_at": _time(claims.iat),
            "project": {
                "domain": DOMAIN,
                "id": claims.project_id,
                "name": claims.project_name,
            },
            "is_domain": False,
            "roles": [{"id": _id("role", role), "name": role} for role in claims.roles],
        }
        return document | ({"catalog": self.list_services(root)} if with_catalog else {})

    def list_services(self, root: str) -> list[Document]:
        """The catalog: the services that are there."""
        return [
            {
                "id": _id("service", kind),
                "type": kind,
                "name": name,
                "endpoints": [
                    {
                        "id": _id(self._region, kind, interface),
                        "interface": interface,
                        "region": self._region,
                        "region_id": self._region,
                        "url": root + path,
                    }
                    for interface in ("public", "internal", "admin")
                ],
            }
            for kind, name, path in SERVICES
        ]


class SignedIn(Resource):
    """What the resources of tokens share."""

    def __init__(self, frame: Frame, sign_in: SignIn) -> None:
        super().__init__(frame)
        self._sign_in = sign_in


class AuthTokens(SignedIn):
    """``/identity/v3/auth/tokens``."""

    public = frozenset({"POST"})

    @operation("sign-in", "Get a token", status=201, body=SIGN_IN, query=TOKEN)
    def on_post(self, call: Call) -> Document:
        """The token is in the header ``X-Subject-Token``."""
        token, document = self._sign_in.sign_in(call, call.body["auth"])
        call.headers["X-Subject-Token"] = token
        return {"token": document}

    @operation("token-show", "Check a token and show what it says", query=TOKEN)
    def on_get(self, call: Call) -> Document:
        """The token in ``X-Subject-Token``; its own user or an administrator may ask."""
        if not call.subject:
            raise BadRequest("X-Subject-Token is missing.")
        self._sign_in.confirm(call)
        try:
            claims = self._sign_in.check(call, call.subject)
        except Unauthorized:
            raise NotFound("The token in X-Subject-Token could not be found.") from None
        if claims.sub != call.ctxt.user_id and not call.is_admin:
            raise NotFound("The token in X-Subject-Token could not be found.")
        call.headers["X-Subject-Token"] = call.subject
        document = self._sign_in.describe(
            claims, call.root, with_catalog="nocatalog" not in call.query
        )
        return {"token": document}

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """As GET; the server leaves the body out."""
        self.on_get(req, resp)


class AuthCatalog(SignedIn):
    """``/identity/v3/auth/catalog``."""

    @operation("auth-catalog", "List the services that are there")
    def on_get(self, call: Call) -> Document:
        """The catalog that tokens carry."""
        self._sign_in.confirm(call)
        links = {"self": f"{call.base}/v3/auth/catalog", "next": None, "previous": None}
        return {"catalog": self._sign_in.list_services(call.root), "links": links}


class AuthProjects(SignedIn):
    """``/identity/v3/auth/projects``."""

    @operation("auth-projects", "List the projects that the token is for")
    def on_get(self, call: Call) -> Document:
        """The token's project."""
        self._sign_in.confirm(call)
        project = {
            "id": call.ctxt.project_id,
            "name": call.ctxt.project_name,
            "domain_id": DOMAIN["id"],
            "enabled": True,
            "is_domain": False,
            "parent_id": DOMAIN["id"],
        }
        links = {"self": f"{call.base}/v3/auth/projects", "next": None, "previous": None}
        return {"projects": [project], "links": links}


def _project(auth: Document) -> Document:
    scope = auth.get("scope")
    if not isinstance(scope, dict):
        raise BadRequest("auth.scope must be an object with project: every token is for one.")
    project: Document = scope["project"]
    return project


def _named(owner: Document, what: str) -> dict[str, str]:
    """The id or name of a user or project of the one domain there is."""
    domain: dict[str, Any] = owner.get("domain", DOMAIN)
    if domain.get("id", DOMAIN["id"]) != DOMAIN["id"] or (
        domain.get("name", DOMAIN["name"]).lower() != DOMAIN["name"].lower()
    ):
        raise Unauthorized()
    if "id" in owner:
        return {"id": owner["id"]}
    if "domain" not in owner:
        raise BadRequest(f"The {what} has a name and no domain; add its domain: Default.")
    return {"name": owner["name"]}


def _id(*parts: str) -> str:
    return uuid.uuid5(NAMESPACE, "/".join(parts)).hex


def _time(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
