"""Real servers, shared by the whole session."""

from tests.fixtures.hosts import host_net
from tests.fixtures.rabbitmq import rabbitmq

__all__ = ["host_net", "rabbitmq"]
