"""What a command says instead of doing what it was asked for."""

from __future__ import annotations


class CommandFailed(Exception):
    """It was not done; the text is one sentence for who asked."""


class CloudAway(CommandFailed):
    """The cloud gives no answer now; it may later."""
