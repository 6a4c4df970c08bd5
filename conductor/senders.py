"""Who sent a message, by the broker's word: agents speak for their own host only, and never for
users, since an agent can write to every conductor queue."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

from conductor.refusals import Refusals
from paddock.errors import Forbidden

API_USER = "api"


class Senders:
    """Checks the broker's users: an agent's is its host's name, an API's is ``api`` or ``api-…``.

    The bus inside one process has no users, and nobody else on it.

    :param conf: a process's configuration; its ``transport_url`` tells which bus it is
    :ivar refusals: where what is refused to senders is logged
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.refusals = Refusals()
        self._alone = str(conf.transport_url).startswith("paddock://")

    def check_agent(self, ctxt: dict[str, Any], host: str) -> None:
        """Raise Forbidden unless the host's own agent sent the message."""
        if not self._alone and (ctxt.get("auth_user") != host or is_api(host)):
            raise Forbidden(f"This sender does not speak for host {host[:255]}.")

    def check_api(self, ctxt: dict[str, Any]) -> None:
        """Raise Forbidden, which is logged, unless an API sent the message."""
        if not self._alone and not is_api(str(ctxt.get("auth_user"))):
            error = Forbidden("This sender does not speak for users.")
            self.refusals.note(ctxt, error.message)
            raise error


def is_api(user: str) -> bool:
    """Whether a broker's user of that name is an API's."""
    return user == API_USER or user.startswith(f"{API_USER}-")
