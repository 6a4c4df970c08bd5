"""Networks: their records."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from conductor.db.models import Network
from conductor.pages import page
from conductor.policy import Policy
from conductor.turn import Turn
from paddock.context import RequestContext
from paddock.errors import NotFound
from paddock.records import Listing, NetworkRecord

LIST = "paddock:networks:list"
SHOW = "paddock:networks:show"


def list_page(
    turn: Turn, policy: Policy, asks: RequestContext, listing: Listing
) -> list[NetworkRecord]:
    """A page of the networks that the caller may use: those of all, and the project's own."""
    records = [_show(network) for network in turn.all(sa.select(Network))]
    mine = [record for record in records if _is_visible(policy, asks, record, LIST)]
    return page(mine, listing, default=("name", "asc"))


def get(turn: Turn, policy: Policy, asks: RequestContext, key: str) -> NetworkRecord:
    """One network that the caller may use."""
    network = turn.get(Network, key)
    if network is None or not _is_visible(policy, asks, _show(network), SHOW):
        raise NotFound(f"Network {key} could not be found.")
    return _show(network)


def _is_visible(policy: Policy, asks: RequestContext, record: NetworkRecord, rule: str) -> bool:
    owner = record.project_id or asks.project_id
    return policy.allows(asks, rule, {"project_id": owner})


def _show(network: Network) -> NetworkRecord:
    return msgspec.convert(network, NetworkRecord, from_attributes=True)
