"""Errors as the client reads them: each service's own document, in JSON or XML."""

from __future__ import annotations

import logging
from http import HTTPStatus
from xml.etree.ElementTree import Element, SubElement, tostring

import falcon
import msgspec
from falcon.util import mediatypes

from api.call import call_of
from api.schemas.common import JSON, XML
from paddock import errors

LOG = logging.getLogger(__name__)
NAMESPACE = "http://docs.openstack.org/compute/api/v1.1"
RETRY_SECONDS = 1

_BY_STATUS: dict[int, type[errors.PaddockError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    406: errors.NotAcceptable,
    409: errors.Conflict,
    413: errors.TooLarge,
    414: errors.TooLarge,
    415: errors.UnsupportedMediaType,
    431: errors.TooLarge,
    503: errors.ServiceUnavailable,
}


def answer(req: falcon.Request, resp: falcon.Response, error: errors.PaddockError) -> None:
    """Make the answer that tells an error."""
    call = call_of(req)
    resp.status = error.status
    resp.text = None
    resp.data, resp.content_type = render(
        error, call.service, wants_xml(req.get_header("Accept"), req.content_type)
    )
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        resp.set_header("Retry-After", str(RETRY_SECONDS))
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        resp.set_header("Retry-After", str(error.kwargs["retry_after"]))
    if error.status == HTTPStatus.UNAUTHORIZED:
        resp.set_header("WWW-Authenticate", f'Keystone uri="{call.root}/identity"')


def render(error: errors.PaddockError, service: str, as_xml: bool) -> tuple[bytes, str]:
    """The body of an error's answer and its content type."""
    if as_xml:
        return _xml(error), f"{XML}; charset=utf-8"
    if service == "identity":
        title = HTTPStatus(error.status).phrase
        document = {"error": {"code": error.status, "message": error.message, "title": title}}
    else:
        document = {error.fault: {"code": error.status, "message": error.message}}
    return msgspec.json.encode(document), JSON


def _xml(error: errors.PaddockError) -> bytes:
    root = Element(error.fault, {"code": str(error.status), "xmlns": NAMESPACE})
    printable = (c if c in "\t\n" or " " <= c < "\ufffe" else "?" for c in error.message)
    SubElement(root, "message").text = "".join(printable)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def wants_xml(accept: str | None, content_type: str | None) -> bool:
    """Whether the error should be XML: Accept prefers it, or says nothing to an XML body."""
    if accept and accept.strip() != "*/*":
        try:
            return mediatypes.best_match([JSON, XML], accept) == XML
        except ValueError:  # it is no list of media types
            return False
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind in (XML, "text/xml")


def on_paddock_error(
    req: falcon.Request, resp: falcon.Response, error: errors.PaddockError, _params: object
) -> None:
    """One of ours; those that only agents should see are our fault."""
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        LOG.error("%s %s: %s", req.method, req.path, error.message)
    if isinstance(error, errors.HypervisorError) or error.status == 500:
        error = errors.PaddockError()
    answer(req, resp, error)


def on_http_error(
    req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: object
) -> None:
    """One of falcon's: unknown paths, methods, broken requests."""
    kind = _BY_STATUS.get(error.status_code, errors.PaddockError)
    if error.status_code in (404, 405):
        sentence = ""
    else:
        sentence = " ".join(part for part in (error.title, error.description) if part)
    answer(req, resp, kind(sentence))
    if allowed := dict(error.headers or {}).get("Allow"):
        resp.set_header("Allow", allowed)


def on_unexpected(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: object
) -> None:
    """A mistake in our own code: logged whole, told as nothing but that."""
    LOG.error("%s %s failed", req.method, req.path, exc_info=error)
    answer(req, resp, errors.PaddockError())
