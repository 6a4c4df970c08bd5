"""What is made to be costly to read is refused, and costs neither time nor memory."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from api import bodies
from api.schemas.common import JSON, XML
from compute_agent.drivers.libvirt import xml
from conductor.users_file import read_users
from paddock.errors import BadRequest

LONGEST = 114688
SECONDS = 2.0
MEMORY = 64 << 20
LAUGHS = b"<!DOCTYPE a [<!ENTITY l0 'lol'>%s]><a>&l9;</a>" % b"".join(
    b"<!ENTITY l%d '%s'>" % (one, b"&l%d;" % (one - 1) * 10) for one in range(1, 10)
)
BOMBS = {
    "billion laughs": LAUGHS,
    "quadratic blow-up": b"<!DOCTYPE a [<!ENTITY b '%s'>]><a>%s</a>"
    % (b"x" * 50_000, b"&b;" * 15_000),
    "a file": b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "a URL": b"<!DOCTYPE a [<!ENTITY b SYSTEM 'http://127.0.0.1:1/'>]><a>&b;</a>",
    "a parameter's URL": b"<!DOCTYPE a [<!ENTITY % b SYSTEM 'http://127.0.0.1:1/'>%b;]><a/>",
    "unparsed": b"<!DOCTYPE a [<!NOTATION n SYSTEM 'x'><!ENTITY b SYSTEM 'x' NDATA n>]><a/>",
}  # fmt: skip
LARGE = {
    "deep": b"<a>" * 15_000 + b"</a>" * 15_000,
    "never closed": b"<a>" * 38_000,
    "a huge attribute": b"<a><b c='" + b"x" * 110_000 + b"'/></a>",
    "a huge name": b"<" + b"a" * 110_000,
    "one attribute twice": b"<a b='' b=''/>",
    "a comment without end": b"<a><!--" + b"-" * 110_000,
    "bytes": bytes(range(256)) * 400,
    "UTF-7": b"<?xml version='1.0' encoding='utf-7'?><a/>",
}
NESTED = {
    "lists": b"[" * 100_000,
    "closed lists": b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "a huge number": b'{"a": ' + b"9" * 100_000 + b"x}",
    "a long number": b'{"a": ' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"a": 1e999999999}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a name twice": b'{"a": 1, "a": 2}',
    "half a surrogate pair": b'{"a": "\\ud83d"}',
    "half a pair in a name": b'{"\\udc00": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a comment": b'{"a": 1 /* b */}',
    "two documents": b'{"a": 1}{"a": 2}',
    "a mark before it": b'\xef\xbb\xbf{"a": 1}',
}


class Bounded:
    """A time and an amount of memory that what is within must not need."""

    def __enter__(self) -> None:
        tracemalloc.start()
        self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert time.monotonic() - self._begun < SECONDS
        assert most < MEMORY


@pytest.mark.parametrize("name", BOMBS | LARGE)
def test_xml_that_is_made_to_hurt_is_refused(name: str) -> None:
    raw = (BOMBS | LARGE)[name][:LONGEST]
    with Bounded(), pytest.raises(BadRequest):
        bodies.decode(raw, XML)


@pytest.mark.parametrize("name", BOMBS)
def test_a_domain_that_is_made_to_hurt_is_not_read(name: str) -> None:
    with Bounded(), pytest.raises(ValueError):
        xml.disks_of(BOMBS[name].decode())


@pytest.mark.parametrize("name", NESTED)
def test_json_that_is_made_to_hurt_is_refused(name: str) -> None:
    with Bounded(), pytest.raises(BadRequest):
        bodies.decode(NESTED[name][:LONGEST], JSON)


def test_many_attributes_cost_little() -> None:
    raw = b"<a " + b" ".join(b"a%d=''" % one for one in range(11_000)) + b"/>"
    with Bounded():
        assert len(bodies.decode(raw[:LONGEST], XML)["a"]) == 11_000


def test_a_file_of_users_makes_no_objects(tmp_path: Path) -> None:
    file = tmp_path / "users.yaml"
    file.touch(0o600)
    file.write_text("users: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(BadRequest, match="is not YAML"):
        read_users(file)
