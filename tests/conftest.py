"""Chooses the concurrency backend before any test module is imported."""

from paddock import runtime

runtime.choose()
