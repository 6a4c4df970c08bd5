"""What every request passes: its id, its place, its caller, its microversion, its log line."""

from __future__ import annotations

import logging
import re
import time
import uuid

import falcon

from api.call import Call, call_of
from api.client_address import ClientAddresses
from api.microversions import read_version, show
from api.operations import Resource
from api.paths import locate
from api.tokens import Tokens
from paddock.context import RequestContext
from paddock.errors import BadRequest, NotFound, PaddockError, Unauthorized

LOG = logging.getLogger(__name__)
NEW_HEADER = "OpenStack-API-Version"
OLD_HEADER = "X-OpenStack-Nova-API-Version"
_GLOBAL_ID = re.compile(r"req-[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


class Entrance:
    """Falcon's middleware.

    :param tokens: reads tokens
    :param clients: knows which proxies to believe
    :param public_url: scheme, host and port that clients see; from the Host header when empty
    """

    def __init__(self, tokens: Tokens, clients: ClientAddresses, public_url: str | None) -> None:
        self._tokens = tokens
        self._clients = clients
        self._public_url = (public_url or "").rstrip("/")

    # Falcon fixes the names and order of these methods' arguments.
    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:  # noqa: ARG002
        """Name the request, bring its path to one form, read its microversion."""
        call = call_of(req)
        call.began = time.monotonic()
        call.request_id = f"req-{uuid.uuid4()}"
        call.address = self._clients.find(req.remote_addr, req.get_header("X-Forwarded-For"))
        place = locate(req.path)
        call.service = place.service
        call.root = self._public_url or _root(req)
        call.base = call.root + place.prefix
        call.tenant = place.tenant
        if any(character < " " or character == "\x7f" for character in req.path):
            raise NotFound()
        call.path, req.path = req.path, place.path
        if place.service == "compute":
            self._read_version(req, call)

    def process_resource(
        self,
        req: falcon.Request,
        resp: falcon.Response,  # noqa: ARG002
        resource: Resource,
        params: object,  # noqa: ARG002
    ) -> None:
        """Find out who calls; then refuse a version that is not served."""
        call = call_of(req)
        if req.method not in resource.public:
            call.ctxt = self._authenticate(req, call)
        if call.version_error:
            raise call.version_error

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: object,  # noqa: ARG002
        req_succeeded: bool,  # noqa: ARG002
    ) -> None:
        """Write what every answer carries, and one line into the log."""
        call = call_of(req)
        resp.set_header("X-Openstack-Request-Id", call.request_id)
        if call.service == "compute":
            resp.set_header("X-Compute-Request-Id", call.request_id)
            resp.append_header("Vary", f"{NEW_HEADER}, {OLD_HEADER}")
            if not call.version_error:
                resp.set_header(NEW_HEADER, f"compute {show(call.version)}")
                resp.set_header(OLD_HEADER, show(call.version))
        elif call.service == "identity":
            resp.append_header("Vary", "X-Auth-Token")
        _log(req, resp, call)

    def _read_version(self, req: falcon.Request, call: Call) -> None:
        try:
            call.version = read_version(req.get_header(NEW_HEADER), req.get_header(OLD_HEADER))
        except PaddockError as error:
            call.version_error = error

    def _authenticate(self, req: falcon.Request, call: Call) -> RequestContext:
        token = req.get_header("X-Auth-Token")
        if not token:
            raise Unauthorized()
        claims = self._tokens.read(token)
        if call.tenant is not None and call.tenant != claims.project_id:
            raise BadRequest(
                f"The path names the project {call.tenant[:64]!a}, "
                f"the token is for {claims.project_id}."
            )
        return claims.context(call.request_id)


def _root(req: falcon.Request) -> str:
    host = req.get_header("Host") or f"{req.host}:{req.port}"
    if not _HOST.fullmatch(host):
        raise BadRequest("The Host header must be a host name or address and perhaps a port.")
    return f"{req.scheme}://{host}"


def _log(req: falcon.Request, resp: falcon.Response, call: Call) -> None:
    sent = req.get_header("X-Openstack-Request-Id") or ""
    LOG.info(
        "%s %s %s in %.0f ms",
        req.method,
        ascii(call.path)[1:-1],
        resp.status_code,
        (time.monotonic() - call.began) * 1000,
        extra={
            "request_id": call.request_id,
            "global_request_id": sent if _GLOBAL_ID.fullmatch(sent) else None,
            "project_id": call.ctxt.project_id,
        },
    )
