"""Real servers, shared by the whole session."""

from tests.fixtures.rabbitmq import rabbitmq

__all__ = ["rabbitmq"]
