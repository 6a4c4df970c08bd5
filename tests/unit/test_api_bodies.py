"""Bodies: what is read, and the sentence that refuses the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import bodies, differences
from api.schemas import server_actions, servers
from api.schemas.common import JSON, XML
from api.validation import Validation, refuse_controls
from paddock.errors import BadRequest, UnsupportedMediaType

VALIDATION = Validation(differences.build())
IMAGE = "11111111-2222-3333-4444-555555555555"
SERVER = {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}
LATEST = (2, 96)


def check(**fields: Any) -> None:
    VALIDATION.check_body(servers.CREATE, {"server": SERVER | fields}, LATEST)


@pytest.mark.parametrize(
    ("raw", "document"),
    [
        (b"<vm-poweroff/>", {"vm-poweroff": {}}),
        (b"<vm-poweron availability_zone='az2'/>", {"vm-poweron": {"availability_zone": "az2"}}),
        (
            b'<?xml version="1.0"?><vm-poweron xmlns="urn:x">\n'
            b" <availability_zone> az2 </availability_zone></vm-poweron>",
            {"vm-poweron": {"availability_zone": "az2"}},
        ),
    ],
)
def test_an_action_in_xml_is_the_action_in_json(raw: bytes, document: object) -> None:
    assert bodies.decode(raw, XML) == document


BOMB = b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><vm-poweroff>&c;</vm-poweroff>'
OUTSIDE = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><vm-poweroff>&b;</vm-poweroff>'


@pytest.mark.parametrize(
    "raw",
    [
        b"<a", b"", b"  ", b"<a/><b/>", b"text", BOMB, OUTSIDE, b"<a>text</a>",
        b"<!DOCTYPE a SYSTEM 'http://x/'><a/>", b"<a><b/><b/></a>", b"<a><b><c/></b></a>",
        b"<a b='1'><b>2</b></a>", b"\xff\xfe<", b"<?xml version='1.0' encoding='klingon'?><a/>",
        b"<a>&undefined;</a>", b"<a>" * 5000,
    ],
)  # fmt: skip
def test_other_xml_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        bodies.decode(raw, XML)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b'"x"', b"null", b"NaN", b'{"a": NaN}', b'{"a": 1e999}', b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}", b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"{} {}",
        "{}".encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        bodies.decode(raw, JSON)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b'{"pause": null, "pause": null}', "'pause' must come only once"),
        (b'{"server": {"a": 1, "b": {"c": 1, "c": 2}}}', "'c' must come only once"),
        (b'{"server": {"name": "\\ud83d"}}', r"^server.name must not hold half of a surrogate"),
        (b'{"\\udc00": 1}', r"udc00 must not hold half of a surrogate pair"),
    ],
)
def test_json_that_says_nothing_certain_is_refused_by_name(raw: bytes, named: str) -> None:
    with pytest.raises(BadRequest, match=named) as caught:
        bodies.decode(raw, JSON)
    assert caught.value.message.isascii()


def test_json_of_every_kind_is_read() -> None:
    raw = (
        b'{"a": [1, -2.5e3, 12345678901234567890123, true, null, "\\ud83d\\ude00"], "b": {"a": {}}}'
    )
    held = [1, -2500.0, 12345678901234567890123, True, None, "\U0001f600"]
    assert bodies.decode(raw, JSON) == {"a": held, "b": {"a": {}}}


@pytest.mark.parametrize(
    ("document", "named"),
    [({"\x00": {}}, r"^\\x00 must not"), ({"server": {"a\x1f": 1}}, r"^server\.a\\x1f must not"),
     ({"server": ["\x07"]}, r"^server\[0\] must not")],
)  # fmt: skip
def test_control_characters_are_refused_by_the_fields_name(document: Any, named: str) -> None:
    with pytest.raises(BadRequest, match=named) as caught:
        refuse_controls(document)
    assert caught.value.message.isprintable()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_readers(raw: bytes) -> None:
    for kind in (JSON, XML):
        try:
            bodies.decode(raw, kind)
        except BadRequest:
            continue


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [("text/plain", None), ("application/xml", None), ("application/json; charset=latin-1", None),
     ("application/json", "gzip"), ("", "br"), ("nonsense", None)],
)  # fmt: skip
def test_other_media_are_not_supported(content_type: str, encoding: str | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        bodies.media_type(content_type, encoding, (JSON,))


@pytest.mark.parametrize(
    "content_type",
    [None, JSON, "Application/JSON;charset=UTF-8", 'application/json; charset="utf8"'],
)
def test_json_is_read_however_it_is_announced(content_type: str | None) -> None:
    assert bodies.media_type(content_type, None, (JSON,)) == JSON


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": "x" * 256}, "server.name must be a name of 1 to 255"),
        ({"name": ""}, "server.name"),
        ({"name": "a\nb"}, "server.name"),
        ({"name": "a\n"}, "server.name"),
        ({"name": "a\x00b"}, "server.name must not hold control characters"),
        ({"name": " a"}, "server.name"),
        ({"name": "a\u202eb"}, "server.name"),
        ({"name": 7}, "server.name"),
        ({"flavorRef": None}, "server.flavorRef"),
        ({"flavorRef": []}, "server.flavorRef"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"min_count": 0}, "server.min_count must be a whole number from 1 to 100"),
        ({"min_count": 10**40}, "server.min_count"),
        ({"max_count": True}, "server.max_count"),
        ({"networks": "any"}, "server.networks must be auto or none"),
        ({"networks": {}}, "server.networks"),
        ({"networks": [{"uuid": "x"}]}, r"server.networks\[0\].uuid"),
        ({"networks": [{}]}, r"server.networks\[0\].uuid is missing"),
        ({"metadata": {"a": 1}}, "server.metadata.a"),
        ({"metadata": {"a" * 256: "b"}}, "server.metadata has the name"),
        ({"metadata": {"a": {"b": {}}}}, "server.metadata.a"),
        ({"metadata": []}, "server.metadata"),
        ({"availability_zone": 3}, "server.availability_zone"),
        ({"key_name": "k"}, "this cloud has no key pairs.$"),
        ({"tags": ["a"]}, "this cloud has no tags.$"),
        ({"metadata": dict.fromkeys(map(str, range(129)), "x")}, "any of -_:..$"),
        ({"host": "a b"}, "server.host"),
    ],
)
def test_a_wrong_field_is_named_with_what_would_be_right(fields: Any, named: str) -> None:
    with pytest.raises(BadRequest, match=named) as caught:
        check(**fields)
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


def test_what_clients_send_is_admitted() -> None:
    device = {"uuid": IMAGE, "boot_index": 0, "source_type": "image", "destination_type": "local",
              "delete_on_termination": True}  # fmt: skip
    check()
    check(networks="auto", metadata={}, min_count="2", max_count=3, security_groups=[],
          config_drive=False, block_device_mapping_v2=[device], description=None)  # fmt: skip
    check(networks=[{"uuid": IMAGE, "fixed_ip": "10.0.0.7"}], key_name=None, tags=[])
    check(flavorRef=3, availability_zone="az1:h1", name="ü €  🐎")


def test_a_field_is_admitted_from_its_version_on() -> None:
    body = {"server": SERVER | {"description": "d"}}
    VALIDATION.check_body(servers.CREATE, body, (2, 19))
    with pytest.raises(BadRequest, match="description"):
        VALIDATION.check_body(servers.CREATE, body, (2, 18))


@pytest.mark.parametrize("verb", ["pause", "os-stop", "vm-poweroff", "vm-poweron", "lock"])
@pytest.mark.parametrize("value", [None, {}])
def test_verbs_without_fields_take_null_or_an_empty_object(verb: str, value: Any) -> None:
    VALIDATION.check_body(server_actions.VERBS[verb].body, {verb: value}, LATEST)


@pytest.mark.parametrize("verb", list(server_actions.VERBS))
@pytest.mark.parametrize("value", [7, "text", [1], {"unknown": 1}, True])
def test_verbs_refuse_what_they_do_not_know(verb: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=verb):
        VALIDATION.check_body(server_actions.VERBS[verb].body, {verb: value}, LATEST)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*servers.CREATE.schema["properties"], "x"]), JSON_VALUES))
def test_no_document_breaks_the_validation(fields: Any) -> None:
    try:
        VALIDATION.check_body(servers.CREATE, {"server": fields}, LATEST)
    except BadRequest as error:
        assert error.message
