"""Who sent a message, by the broker's word: agents speak for their own host only, and never for
users, since an agent can write to every conductor queue."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

from paddock.errors import Forbidden

API_USER = "api"


class Senders:
    """Checks the broker's users: an agent's is its host's name, an API's is ``api`` or ``api-…``.

    The bus inside one process has no users, and nobody else on it.

    :param conf: a process's configuration; its ``transport_url`` tells which bus it is
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._alone = str(conf.transport_url).startswith("paddock://")

    def check_agent(self, ctxt: dict[str, Any], host: str) -> None:
        """Raise Forbidden unless the host's own agent sent the message."""
        if not self._alone and (ctxt.get("auth_user") != host or _is_api(host)):
            raise Forbidden(f"This sender does not speak for host {host}.")

    def check_api(self, ctxt: dict[str, Any]) -> None:
        """Raise Forbidden unless an API sent the message."""
        if not self._alone and not _is_api(str(ctxt.get("auth_user"))):
            raise Forbidden("This sender does not speak for users.")


def _is_api(user: str) -> bool:
    return user == API_USER or user.startswith(f"{API_USER}-")
