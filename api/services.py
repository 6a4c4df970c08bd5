"""``/services``: the hosts' agents and the conductors, paused and resumed by administrators."""

from __future__ import annotations

from api.call import Call, Document
from api.listing import PAGE, collect
from api.operations import Frame, Resource, operation
from api.schemas.services import SERVICES, TRIGGERS
from paddock.clients import CatalogClient
from paddock.errors import BadRequest
from paddock.records import HostRecord, Listing

MOST = 20 * PAGE
NO_SUPERVISOR = (
    "{verb} needs a process supervisor that Paddock can reach, and none is configured "
    "([api] supervisor). Start and stop services on their hosts (systemctl); "
    "PAUSE and RESUME close and open a host for its users."
)


class ServicesBase(Resource):
    """What the resources of services share."""

    def __init__(self, frame: Frame, catalog: CatalogClient) -> None:
        super().__init__(frame)
        self._catalog = catalog


class Services(ServicesBase):
    """``/services``."""

    @operation("service-list", "List the services", query=SERVICES)
    def on_get(self, call: Call) -> Document:
        """All services, or those of one zone."""
        return {"services": [view(record) for record in list_hosts(call, self._catalog)]}


class Service(ServicesBase):
    """``/services/{service_id}``."""

    @operation("service-show", "Show a service")
    def on_get(self, call: Call, service_id: str) -> Document:
        """One service, by its id or its host's name."""
        return {"service": view(self._catalog.get(call.ctxt, "hosts", HostRecord, service_id))}


class ServiceAction(ServicesBase):
    """``/services/{service_id}/action`` and ``/actions``."""

    @operation(
        "service-action", "Pause or resume a service", status=202, verbs=TRIGGERS, any_case=True
    )
    def on_post(self, call: Call, service_id: str) -> None:
        """Accepted; the host is closed or open from now on."""
        if call.verb == "PAUSE":
            reason = (call.body["PAUSE"] or {}).get("reason")
            self._catalog.pause_host(call.ctxt, service_id, reason)
        elif call.verb == "RESUME":
            self._catalog.resume_host(call.ctxt, service_id)
        else:  # refused to all, but only those who may see the service are told why
            self._catalog.get(call.ctxt, "hosts", HostRecord, service_id)
            raise BadRequest(NO_SUPERVISOR.format(verb=call.verb))


def list_hosts(call: Call, catalog: CatalogClient) -> list[HostRecord]:
    """The services that the query's filters leave."""
    filters = {name: value for name, value in call.query.items() if name in ("zone", "host")}
    return collect(
        lambda listing: catalog.list(call.ctxt, "hosts", HostRecord, listing),
        Listing(filters=filters),
        MOST,
        "id",
    )


def is_up(record: HostRecord) -> bool:
    """Whether a host counts as alive for the compute API."""
    return record.state == "up" and not record.forced_down


def view(record: HostRecord) -> Document:
    """A service's document."""
    pauses = sorted(record.pauses, key=lambda pause: pause.since)
    reasons = [pause.reason for pause in pauses if pause.reason]
    return {
        "id": record.id,
        "host": record.host,
        "binary": record.binary,
        "zone": record.zone,
        "state": record.state,
        "paused": bool(pauses),
        "paused_reason": "; ".join(reasons) or None,
        "paused_since": pauses[0].since if pauses else None,
        "last_heartbeat": record.last_heartbeat,
        "version": record.version,
        "capabilities": record.capabilities,
        "resources": {
            "vcpus": {"total": record.total.vcpus, "used": record.claimed.vcpus},
            "memory_mb": {"total": record.total.memory_mb, "used": record.claimed.memory_mb},
            "disk_gb": {"total": record.total.disk_gb, "used": record.claimed.disk_gb},
        },
    }
