"""Real servers, shared by the whole session."""

from tests.fixtures.databases import database_server, database_url
from tests.fixtures.guest import images
from tests.fixtures.hosts import host_net
from tests.fixtures.libvirt import embed_root
from tests.fixtures.rabbitmq import rabbitmq

__all__ = ["database_server", "database_url", "embed_root", "host_net", "images", "rabbitmq"]
