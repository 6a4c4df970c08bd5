"""Whom the broker's user may speak for."""

from __future__ import annotations

import pytest

from conductor.senders import Senders
from paddock.config import load
from paddock.errors import Forbidden


@pytest.fixture
def senders() -> Senders:
    return Senders(load(overrides={"DEFAULT": {"transport_url": "rabbit://c1:x@127.0.0.1/"}}))


def test_an_agent_speaks_for_its_own_host_only(senders: Senders) -> None:
    senders.check_agent({"auth_user": "h1"}, "h1")
    for sender in ("h2", "api", None):
        with pytest.raises(Forbidden):
            senders.check_agent({"auth_user": sender}, "h1")


def test_only_an_api_speaks_for_users(senders: Senders) -> None:
    for sender in ("api", "api-2"):
        senders.check_api({"auth_user": sender})
    for sender in ("h1", "c1", "apis", None):
        with pytest.raises(Forbidden):
            senders.check_api({"auth_user": sender})


@pytest.mark.parametrize("host", ["api", "api-2"])
def test_a_host_cannot_bear_an_apis_name(senders: Senders, host: str) -> None:
    """Else its agent, logged in under that name, could speak for users."""
    with pytest.raises(Forbidden):
        senders.check_agent({"auth_user": host}, host)
