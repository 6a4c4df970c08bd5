"""``/healthz`` and ``/readyz``: whether this process lives, and whether it can serve."""

from __future__ import annotations

from api.call import Call, Document
from api.operations import EVERYBODY, Frame, Resource, operation
from paddock.clients import CatalogClient
from paddock.context import RequestContext
from paddock.errors import ServiceUnavailable


class Alive(Resource):
    """``/healthz``."""

    public = EVERYBODY

    @operation("healthz", "Whether the API process lives")
    def on_get(self, call: Call) -> Document:
        """It answers, so it does."""
        return {"status": "ok", "request_id": call.request_id}


class Ready(Resource):
    """``/readyz``."""

    public = EVERYBODY

    def __init__(self, frame: Frame, catalog: CatalogClient) -> None:
        super().__init__(frame)
        self._catalog = catalog

    @operation("readyz", "Whether broker, conductor and database answer")
    def on_get(self, call: Call) -> Document:
        """200 when all of them do, 503 with the reason when one does not."""
        try:
            found = self._catalog.ping(RequestContext(request_id=call.request_id))
        except ServiceUnavailable as error:
            call.status = error.status
            return {"status": "unavailable", "reason": error.message}
        if not found.get("database"):
            call.status = ServiceUnavailable.status
            return {"status": "unavailable", "reason": "The database does not answer."}
        return {"status": "ok", "broker": True, "conductor": True, "database": True}
