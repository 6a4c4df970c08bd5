"""Availability zones."""

from __future__ import annotations

from api.call import Call, Document
from api.listing import PAGE, collect
from api.operations import Frame, Resource, operation
from api.os_services import shown_binary
from api.services import is_up, list_hosts
from api.times import micros
from paddock.clients import CatalogClient
from paddock.records import HostRecord, Listing, ZoneRecord

MOST = 2 * PAGE


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
        """Names, hosts and their services; conductors are in a zone of their own."""
        found = {zone.name: brief(zone) | {"hosts": {}} for zone in self._all(call, detail=True)}
        for record in list_hosts(call, self._catalog):
            if record.zone not in found:
                found[record.zone] = _zone(record.zone, available=True) | {"hosts": {}}
            services = found[record.zone]["hosts"].setdefault(record.host, {})
            services[shown_binary(record)] = service(record)
        return {"availabilityZoneInfo": list(found.values())}


def brief(zone: ZoneRecord) -> Document:
    """A zone without its hosts."""
    return _zone(zone.name, zone.available)


def _zone(name: str, available: bool) -> Document:
    return {"zoneName": name, "zoneState": {"available": available}}


def service(record: HostRecord) -> Document:
    """A host's service: whether it is enabled, whether it lives, when it last said so."""
    return {
        "active": not record.disabled,
        "available": is_up(record),
        "updated_at": micros(record.last_heartbeat),
    }
