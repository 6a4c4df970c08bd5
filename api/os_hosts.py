"""``/os-hosts``: of the compute API's hosts only their maintenance, which is a drain."""

from __future__ import annotations

from api.call import Call, Document
from api.drains import NEWEST_FIRST, fields_of, start
from api.operations import Frame, Resource, operation
from api.schemas.drains import MAINTENANCE
from paddock.clients import CatalogClient
from paddock.errors import NotFound
from paddock.records import DrainRecord, HostRecord, Listing

REASON = "maintenance_mode"
TO_CANCEL = ("running", "paused", "cancelled")
"""In these statuses a drain is ended, or its host only opened, rather than undone."""
UNDONE = ("cancelling", "restoring", "restored")


class OsHost(Resource):
    """``/os-hosts/{host}``."""

    def __init__(self, frame: Frame, catalog: CatalogClient) -> None:
        super().__init__(frame)
        self._catalog = catalog

    @operation("os-host-update", "Begin or end a host's maintenance", body=MAINTENANCE)
    def on_put(self, call: Call, host: str) -> Document:
        """The mode that was asked for; its drain goes on from here."""
        self._check_known(call, host)
        if call.body["maintenance_mode"].lower() == "enable":
            start(call, self._catalog, fields_of({"host": host, "reason": REASON}))
            return {"host": host, "maintenance_mode": "on_maintenance"}
        self._end(call, host)
        return {"host": host, "maintenance_mode": "off_maintenance"}

    def _check_known(self, call: Call, host: str) -> None:
        record = self._catalog.get(call.ctxt, "hosts", HostRecord, host)
        if record.host != host:  # services are also found by their ids
            raise NotFound(f"Host {host[:60]!a} could not be found.")

    def _end(self, call: Call, host: str) -> None:
        """Undo the host's newest drain; one that is undone already is left as it is."""
        newest = Listing(filters={"host": host}, sort=NEWEST_FIRST, limit=1)
        for drain in self._catalog.list(call.ctxt, "drains", DrainRecord, newest):
            if drain.status == "paused" and drain.homeward:
                self._steer(call, drain, "resume", {})
            elif drain.status in TO_CANCEL:
                self._steer(call, drain, "cancel", {"reopen": True})
            elif drain.status not in UNDONE:
                self._steer(call, drain, "restore", {})

    def _steer(self, call: Call, drain: DrainRecord, verb: str, params: Document) -> None:
        self._catalog.steer_drain(call.ctxt, str(drain.id), verb, params)
