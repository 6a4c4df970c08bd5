"""Fixtures of the unit tests."""

from tests.fixtures.lab import empty_database, lab  # noqa: F401 (pytest finds them here)
