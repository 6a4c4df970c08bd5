"""The broker's users: what each process may do there, and how RabbitMQ is told so."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

NOTHING = "^$"


@dataclass(frozen=True)
class Rights:
    """A user's regular expressions (RabbitMQ, "Access Control"); `topic_*` are for amq.topic."""

    configure: str
    write: str
    read: str
    topic_write: str = NOTHING
    topic_read: str = NOTHING


def api_rights(host: str) -> Rights:
    """What the API on `host` may do: write to all, read its own replies."""
    replies = rf"reply_{re.escape(host)}:api:[0-9]+"
    return Rights(f"^{replies}$", r"^amq\.(topic|direct)$", f"^{replies}$", r"^compute\..+$")


def agent_rights(host: str) -> Rights:
    """What the agent of `host` may do: read hints for that host, write to the conductor."""
    hints = rf"compute\.{re.escape(host)}(\.{re.escape(host)})?"
    replies = rf"reply_{re.escape(host)}:agent:[0-9]+"
    return Rights(
        configure=f"^({hints}|{replies})$",
        write=rf"^(amq\.direct|{hints})$",
        read=rf"^(amq\.topic|{hints}|{replies})$",
        topic_read=f"^{hints}$",
    )


def conductor_rights(host: str) -> Rights:
    """What the conductor named `host` may do: serve, answer, hint, and call itself."""
    queues = rf"conductor-(api|agent)(\.{re.escape(host)})?"
    replies = rf"reply_{re.escape(host)}:conductor:[0-9]+"
    return Rights(
        configure=f"^({queues}|{replies})$",
        write=rf"^(amq\.(topic|direct|default)|{queues})$",
        read=rf"^(amq\.direct|{queues}|{replies})$",
        topic_write=r"^compute\..+$",
    )


@dataclass(frozen=True)
class User:
    """A user of the broker.

    :param password_hash: what `hash_password` gives
    :param limits: ``max-connections`` and ``max-channels``
    """

    rights: Rights
    password_hash: str
    limits: Mapping[str, int] = field(default_factory=dict)


def describe(users: Mapping[str, User], vhost: str = "/") -> dict[str, object]:
    """The users of these names as RabbitMQ's definitions, which replace what it knew of them.

    :param vhost: the virtual host in which they have their rights
    """

    def of(name: str, **values: str) -> dict[str, str]:
        return {"user": name, "vhost": vhost, **values}

    rights = {name: user.rights for name, user in users.items()}
    return {
        "vhosts": [{"name": vhost}],
        "users": [
            {
                "name": name,
                "password_hash": user.password_hash,
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
                "limits": dict(user.limits),
            }
            for name, user in users.items()
        ],
        "permissions": [
            of(name, configure=its.configure, write=its.write, read=its.read)
            for name, its in rights.items()
        ],
        "topic_permissions": [
            of(name, exchange="amq.topic", write=its.topic_write, read=its.topic_read)
            for name, its in rights.items()
        ],
    }


def hash_password(password: str) -> str:
    """RabbitMQ's salted hash: base64 of the salt and SHA-256 of salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
