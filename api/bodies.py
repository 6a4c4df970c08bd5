"""Reading a request's body: JSON, and for actions XML; nothing in it is trusted."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml.ElementTree import fromstring

from api.schemas.common import JSON, XML
from api.validation import refuse_halves
from paddock.errors import BadRequest, TooLarge, UnsupportedMediaType


class Stream:
    """What is needed of a request's input: falcon's request has it."""

    def __init__(self, read: Any, longest: int) -> None:
        self._read = read
        self._longest = longest

    def take(self) -> bytes:
        """The whole body.

        :raises TooLarge: it is longer than what is served
        """
        raw: bytes = self._read(self._longest + 1)
        if len(raw) > self._longest:
            raise TooLarge(f"The body must not be longer than {self._longest} bytes.")
        return raw


def media_type(content_type: str | None, encoding: str | None, admitted: tuple[str, ...]) -> str:
    """Which of the admitted types the body has; JSON when the request does not say.

    :raises UnsupportedMediaType: another one, a charset other than UTF-8, or a content encoding
    """
    kind, _, parameters = (content_type or JSON).partition(";")
    kind = {"text/xml": XML}.get(kind.strip().lower(), kind.strip().lower())
    if kind not in admitted:
        raise UnsupportedMediaType(f"Content-Type must be {' or '.join(admitted)}.")
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() == "charset" and value.strip('" ').lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("The charset in Content-Type must be utf-8.")
    if (encoding or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding must be left out.")
    return kind


def decode(raw: bytes, kind: str) -> dict[str, Any]:
    """The object that a body describes.

    :raises BadRequest: the body is empty, malformed or no object
    """
    if not raw.strip():
        raise BadRequest("The body is empty; it must be an object.")
    document = decode_xml(raw) if kind == XML else _decode_json(raw)
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.")
    return document


def _decode_json(raw: bytes) -> Any:
    try:
        document = msgspec.json.decode(raw)
        json.loads(raw, object_pairs_hook=_refuse_twins, parse_int=str, parse_float=str)
    except UnicodeDecodeError:
        raise BadRequest("The body must be JSON in UTF-8.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except msgspec.DecodeError as error:
        _refuse_halves(raw)
        raise BadRequest(f"The body must be JSON: {error}.") from None
    return document


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names come once each."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest(f"The name {name[:60]!a} must come only once in an object.")
        found[name] = value
    return found


def _refuse_halves(raw: bytes) -> None:
    """Name the field that holds half of a surrogate pair, if that is what is wrong."""
    with suppress(ValueError, RecursionError):
        refuse_halves(json.loads(raw))


def decode_xml(raw: bytes) -> dict[str, Any]:
    """``<verb attribute="…"><child>…</child></verb>`` as ``{verb: {attribute: …, child: …}}``.

    Namespaces are ignored. Document types, entities and external references are refused.
    """
    try:
        root = fromstring(raw, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except (ParseError, ValueError, LookupError):
        raise BadRequest("The body must be well-formed XML without a document type.") from None
    verb = _local(root.tag)
    if _text(root):
        raise BadRequest(f"The element {verb[:60]!a} must hold no text, only child elements.")
    fields = {_local(name): value for name, value in root.attrib.items()}
    for child in root:
        name = _local(child.tag)
        if len(child) or child.attrib or name in fields:
            raise BadRequest(f"The element {name[:60]!a} must come once and hold only text.")
        fields[name] = (child.text or "").strip()
    return {verb: fields}


def _text(element: Element) -> str:
    return "".join([element.text or "", *(child.tail or "" for child in element)]).strip()


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
