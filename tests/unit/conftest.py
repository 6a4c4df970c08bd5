"""Fixtures of the unit tests."""

from tests.fixtures.lab import lab  # noqa: F401 (pytest finds it here)
