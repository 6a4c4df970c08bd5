"""Fixtures of the functional ring."""

from tests.fixtures.certificates import certificates, strangers  # noqa: F401
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
from tests.fixtures.lab import empty_database, lab  # noqa: F401
