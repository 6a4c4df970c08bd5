"""``/os-services``: the compute API's own list of services, and what may be set there."""

from __future__ import annotations

from typing import Any

from api.call import Call, Document
from api.differences import number_of
from api.operations import operation
from api.schemas import services as schemas
from api.services import ServicesBase, is_up, list_hosts
from api.times import micros
from paddock.errors import BadRequest, Conflict, NotFound
from paddock.records import HostRecord

BINARIES = {"paddock-compute": "nova-compute", "paddock-conductor": "nova-conductor"}
"""Clients look for services under these names."""
COMPUTE = ("paddock-compute", "nova-compute")


class OsServices(ServicesBase):
    """``/os-services``."""

    @operation("os-service-list", "List the services", query=schemas.OS_SERVICES)
    def on_get(self, call: Call) -> Document:
        """Those of the host and the binary asked for."""
        binary = call.query.get("binary")
        rows = [
            self.shape(call, "os-service", view(record))
            for record in list_hosts(call, self._catalog)
            if binary in (None, "", shown_binary(record), record.binary)
        ]
        return {"services": rows}


class OsService(ServicesBase):
    """``/os-services/{service_id}``."""

    @operation("os-service-update", "Enable, disable or fence a service", body=schemas.UPDATE)
    def on_put(self, call: Call, service_id: str) -> Document:
        """The service after the change."""
        record = self._catalog.update(
            call.ctxt, "hosts", HostRecord, service_id, changes_of(call.body)
        )
        return {"service": self.shape(call, "os-service", view(record))}

    @operation("os-service-delete", "Forget a service that is down", status=204)
    def on_delete(self, call: Call, service_id: str) -> None:
        """Its host is no more part of the cloud."""
        self._catalog.delete(call.ctxt, "hosts", self._find(call, service_id))

    def _find(self, call: Call, service_id: str) -> str:
        if not service_id.isdecimal():
            return service_id
        fitting = [
            record.id
            for record in list_hosts(call, self._catalog)
            if number_of(record.id) == int(service_id[:10])
        ]
        if len(fitting) > 1:
            raise Conflict(f"More than one service is numbered {service_id[:10]}; name its UUID.")
        if fitting:
            return fitting[0]
        raise NotFound(f"Service {service_id[:10]} could not be found.")


class _ByHost(ServicesBase):
    """The older form: the body names host and binary."""

    def _change(self, call: Call, changes: Document, shown: tuple[str, ...]) -> Document:
        host, binary = call.body["host"], call.body["binary"]
        if binary not in COMPUTE:
            raise NotFound(f"Could not find binary {binary[:40]!a} on host {host}.")
        record = self._catalog.update(call.ctxt, "hosts", HostRecord, host, changes)
        document = view(record)
        return {"service": {name: document[name] for name in ("host", "binary", *shown)}}


class Enable(_ByHost):
    """``/os-services/enable``."""

    @operation("os-service-enable", "Enable a service", body=schemas.ENABLE)
    def on_put(self, call: Call) -> Document:
        """Host, binary and status."""
        return self._change(call, changes_of({"status": "enabled"}), ("status",))


class Disable(_ByHost):
    """``/os-services/disable``."""

    @operation("os-service-disable", "Disable a service", body=schemas.DISABLE)
    def on_put(self, call: Call) -> Document:
        """Host, binary and status."""
        return self._change(call, changes_of({"status": "disabled"}), ("status",))


class DisableWithReason(_ByHost):
    """``/os-services/disable-log-reason``."""

    @operation("os-service-disable-log-reason", "Disable a service and say why",
               body=schemas.DISABLE_REASON)  # fmt: skip
    def on_put(self, call: Call) -> Document:
        """Host, binary, status and the reason."""
        wanted = {"status": "disabled", "disabled_reason": call.body["disabled_reason"]}
        return self._change(call, changes_of(wanted), ("status", "disabled_reason"))


class ForceDown(_ByHost):
    """``/os-services/force-down``."""

    @operation("os-service-force-down", "Say that a service is fenced", body=schemas.FORCE_DOWN)
    def on_put(self, call: Call) -> Document:
        """Host, binary and the flag."""
        wanted = {"forced_down": call.body.get("forced_down", True)}
        return self._change(call, wanted, ("forced_down",))


def changes_of(wanted: Document) -> dict[str, Any]:
    """What the conductor is to change.

    :raises BadRequest: a reason without disabling
    """
    changes: dict[str, Any] = {}
    if "disabled_reason" in wanted and wanted.get("status") != "disabled":
        raise BadRequest("disabled_reason goes only with the status disabled.")
    if "status" in wanted:
        changes["disabled"] = wanted["status"] == "disabled"
        changes["disabled_reason"] = wanted.get("disabled_reason")
    if "forced_down" in wanted:
        changes["forced_down"] = wanted["forced_down"]
    return changes


def shown_binary(record: HostRecord) -> str:
    """The binary under the name that clients know."""
    return BINARIES.get(record.binary, record.binary)


def view(record: HostRecord) -> Document:
    """A service in its newest shape."""
    return {
        "id": record.id,
        "binary": shown_binary(record),
        "host": record.host,
        "zone": record.zone,
        "status": "disabled" if record.disabled else "enabled",
        "state": "up" if is_up(record) else "down",
        "updated_at": micros(record.last_heartbeat),
        "disabled_reason": record.disabled_reason,
        "forced_down": record.forced_down,
    }
