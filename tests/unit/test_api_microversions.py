"""Microversions: which are served, and what the table makes of documents and schemas."""

from __future__ import annotations

import pytest

from api import differences
from api.microversions import (
    MAXIMUM,
    MINIMUM,
    Added,
    Changed,
    Differences,
    Removed,
    Served,
    read_version,
)
from paddock.errors import BadRequest, NotAcceptable, NotFound

TABLE = Differences(
    [
        Added((2, 9), "thing", ("new",)),
        Removed((2, 5), "thing", ("old",)),
        Changed((2, 7), "thing", lambda document: document.update(size=str(document["size"]))),
        Served("late", since=(2, 8)),
        Served("early", before=(2, 3)),
    ]
)


@pytest.mark.parametrize(
    ("new", "old", "version"),
    [
        (None, None, MINIMUM),
        ("compute 2.37", None, (2, 37)),
        ("compute 2.37", "2.1", (2, 37)),
        (None, "2.5", (2, 5)),
        ("compute latest", None, MAXIMUM),
        (None, "LATEST", MAXIMUM),
        ("volume 3.5", None, MINIMUM),
        ("volume 3.5, compute 2.6", None, (2, 6)),
        ("compute 2.6,compute 2.6", None, (2, 6)),
    ],
)
def test_the_headers_name_a_version(new: str, old: str, version: tuple[int, int]) -> None:
    assert read_version(new, old) == version


@pytest.mark.parametrize("text", ["2.97", "2.0", "1.1", "3.0", "2.1000"])
def test_a_version_that_is_not_served_is_not_acceptable(text: str) -> None:
    with pytest.raises(NotAcceptable, match=r"Minimum is 2\.1 and maximum is 2\.96"):
        read_version(f"compute {text}", None)


@pytest.mark.parametrize("text", ["compute", "2.5", "compute 2", "compute 2.01", "compute -2.1",
                                  "compute 2.5, compute 2.6", "compute 2.5 x", ",", "compute ２.5"])  # fmt: skip # noqa: E501, RUF001
def test_a_malformed_version_is_a_bad_request(text: str) -> None:
    with pytest.raises(BadRequest):
        read_version(text, None)


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ((2, 4), {"old": 1, "size": "3"}),
        ((2, 5), {"size": "3"}),
        ((2, 7), {"size": 3}),
        ((2, 9), {"size": 3, "new": 2}),
    ],
)
def test_a_document_has_what_its_version_knows(version: tuple[int, int], shown: object) -> None:
    assert TABLE.shape("thing", {"old": 1, "new": 2, "size": 3}, version) == shown


def test_a_schema_admits_what_its_version_knows() -> None:
    schema = {"properties": {"old": {}, "new": {}, "size": {}}}
    assert list(TABLE.narrow("thing", schema, (2, 4))["properties"]) == ["old", "size"]
    assert list(TABLE.narrow("thing", schema, (2, 9))["properties"]) == ["new", "size"]


def test_an_operation_is_there_from_one_version_to_another() -> None:
    TABLE.check_served("late", (2, 8))
    TABLE.check_served("early", (2, 2))
    for operation, version in (("late", (2, 7)), ("early", (2, 3))):
        with pytest.raises(NotFound):
            TABLE.check_served(operation, version)


def test_every_row_lies_between_the_served_versions() -> None:
    for row in differences.ROWS:
        version = row.since if isinstance(row, Served) else row.version
        assert MINIMUM <= version <= MAXIMUM, row
