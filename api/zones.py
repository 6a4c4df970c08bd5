"""Availability zones."""

from __future__ import annotations

from api.call import Call, Document
from api.listing import PAGE, collect
from api.operations import Frame, Resource, operation
from paddock.clients import CatalogClient
from paddock.records import Listing, ZoneRecord

MOST = 2 * PAGE
SERVICE = "nova-compute"


class Zones(Resource):
    """``/os-availability-zone``."""

    def __init__(self, frame: Frame, catalog: CatalogClient) -> None:
        super().__init__(frame)
        self._catalog = catalog

    @operation("zone-list", "List the availability zones")
    def on_get(self, call: Call) -> Document:
        """Names, and whether any of their hosts is up."""
        return {"availabilityZoneInfo": [brief(zone) | {"hosts": None} for zone in self._all(call)]}

    def _all(self, call: Call, *, detail: bool = False) -> list[ZoneRecord]:
        return collect(
            lambda listing: self._catalog.list(call.ctxt, "zones", ZoneRecord, listing),
            Listing(filters={"detail": True} if detail else {}),
            MOST,
            "name",
        )


class ZonesDetail(Zones):
    """``/os-availability-zone/detail``."""

    @operation("zone-list-detail", "List the availability zones with their hosts")
    def on_get(self, call: Call) -> Document:
        """Names and hosts."""
        zones = self._all(call, detail=True)
        return {"availabilityZoneInfo": [brief(zone) | {"hosts": hosts(zone)} for zone in zones]}


def brief(zone: ZoneRecord) -> Document:
    """A zone without its hosts."""
    return {"zoneName": zone.name, "zoneState": {"available": zone.available}}


def hosts(zone: ZoneRecord) -> Document:
    """A zone's hosts with their one service."""
    return {
        host: {SERVICE: {"active": is_up, "available": is_up, "updated_at": None}}
        for host, is_up in zone.hosts.items()
    }
