"""Fixtures of the functional ring."""

from tests.fixtures.cloud import (  # noqa: F401 (pytest finds them here)
    admin,
    cloud,
    create,
    flavor,
    image,
    member,
    other,
    reader,
    server,
)
