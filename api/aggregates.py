"""Aggregates: groups of hosts, which can make availability zones."""

from __future__ import annotations

from api.call import Call, Document
from api.listing import PAGE, collect
from api.operations import Frame, Resource, operation
from api.schemas import aggregates as schemas
from api.times import micros
from paddock.clients import CatalogClient
from paddock.records import AggregateRecord, Listing

MOST = 4 * PAGE
LONGEST_ID = 10
ZONE = "availability_zone"


class AggregateBase(Resource):
    """What the resources of aggregates share."""

    def __init__(self, frame: Frame, catalog: CatalogClient) -> None:
        super().__init__(frame)
        self._catalog = catalog

    def _shown(self, call: Call, record: AggregateRecord) -> Document:
        return self.shape(call, "aggregate", view(record))

    def _update(self, call: Call, key: str, changes: Document) -> Document:
        record = self._catalog.update(call.ctxt, "aggregates", AggregateRecord, key, changes)
        return {"aggregate": self._shown(call, record)}


class Aggregates(AggregateBase):
    """``/os-aggregates``."""

    @operation("aggregate-list", "List aggregates")
    def on_get(self, call: Call) -> Document:
        """All of them."""
        records = collect(
            lambda page: self._catalog.list(call.ctxt, "aggregates", AggregateRecord, page),
            Listing(),
            MOST,
            "id",
        )
        return {"aggregates": [self._shown(call, record) for record in records]}

    @operation("aggregate-create", "Make an aggregate", body=schemas.CREATE)
    def on_post(self, call: Call) -> Document:
        """The aggregate, without hosts."""
        wanted = call.body["aggregate"]
        fields = {"name": wanted["name"], "zone": wanted.get(ZONE)}
        record = self._catalog.create(call.ctxt, "aggregates", AggregateRecord, fields)
        document = self._shown(call, record)
        del document["hosts"], document["metadata"]
        return {"aggregate": document}


class Aggregate(AggregateBase):
    """``/os-aggregates/{aggregate_id}``."""

    @operation("aggregate-show", "Show an aggregate")
    def on_get(self, call: Call, aggregate_id: str) -> Document:
        """The aggregate."""
        record = self._catalog.get(call.ctxt, "aggregates", AggregateRecord, aggregate_id)
        return {"aggregate": self._shown(call, record)}

    @operation("aggregate-update", "Change an aggregate's name or zone", body=schemas.UPDATE)
    def on_put(self, call: Call, aggregate_id: str) -> Document:
        """The aggregate after the change."""
        wanted = call.body["aggregate"]
        names = {"name": "name", ZONE: "zone"}
        changes = {names[name]: value for name, value in wanted.items()}
        return self._update(call, aggregate_id, changes)

    @operation("aggregate-delete", "Remove an aggregate")
    def on_delete(self, call: Call, aggregate_id: str) -> None:
        """It must have no hosts."""
        self._catalog.delete(call.ctxt, "aggregates", aggregate_id)


class AggregateAction(AggregateBase):
    """``/os-aggregates/{aggregate_id}/action``."""

    @operation("aggregate-action", "Change an aggregate's hosts or metadata",
               verbs=schemas.ACTIONS)  # fmt: skip
    def on_post(self, call: Call, aggregate_id: str) -> Document:
        """The aggregate after the change."""
        wanted = call.body[call.verb]
        if call.verb == "set_metadata":
            metadata = dict(wanted["metadata"])
            changes: Document = {"zone": metadata.pop(ZONE)} if ZONE in metadata else {}
            return self._update(call, aggregate_id, changes | {"metadata": metadata})
        return self._update(call, aggregate_id, {call.verb: wanted["host"]})


def view(record: AggregateRecord) -> Document:
    """An aggregate in its newest shape."""
    zone = {ZONE: record.zone} if record.zone else {}
    return {
        "id": record.id,
        "uuid": record.uuid,
        "name": record.name,
        ZONE: record.zone,
        "hosts": record.hosts,
        "metadata": record.metadata | zone,
        "created_at": micros(record.created_at),
        "updated_at": micros(record.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
