"""``/drains``: emptying a host as one piece of work, planned, watched, stopped and undone."""

from __future__ import annotations

from api.call import Call, Document
from api.idempotency import mint
from api.listing import collect, next_link, page_size
from api.operations import Frame, Resource, operation
from api.schemas import drains as schemas
from api.times import moment
from paddock.clients import CatalogClient
from paddock.records import DrainMachine, DrainRecord, Listing

PLANNED = ("id", "name", "how", "target", "reason", "estimate")
FILTERS = ("host", "status")
NEWEST_FIRST = [("created_at", "desc")]


class DrainBase(Resource):
    """What the resources of drains share."""

    def __init__(self, frame: Frame, catalog: CatalogClient, largest: int) -> None:
        super().__init__(frame)
        self._catalog = catalog
        self._largest = largest


class Drains(DrainBase):
    """``/drains``."""

    @operation("drain-list", "List the drains", query=schemas.LIST)
    def on_get(self, call: Call) -> Document:
        """The newest first, without their machines."""
        most = page_size(call.query, self._largest)
        filters = {name: value for name, value in call.query.items() if name in FILTERS}
        records = collect(
            lambda listing: self._catalog.list(call.ctxt, "drains", DrainRecord, listing),
            Listing(filters=filters, sort=NEWEST_FIRST, marker=call.query.get("marker")),
            most,
            "id",
        )
        answer: Document = {"drains": [brief(record) for record in records]}
        if records and len(records) == most:
            answer["drains_links"] = next_link(call, "/drains", str(records[-1].id))
        return answer

    @operation("drain-create", "Drain a host, or plan to", status=202, body=schemas.CREATE,
               keyed=True, answers={200: schemas.DRY_RUN})  # fmt: skip
    def on_post(self, call: Call) -> Document:
        """Accepted, or only planned."""
        fields = fields_of(call.body)
        record = start(call, self._catalog, fields)
        if fields["dry_run"]:
            call.status = 200
        else:
            call.headers["Location"] = f"{call.base}/drains/{record.id}"
        return {"drain": full(record)}


class Drain(DrainBase):
    """``/drains/{drain_id}``."""

    @operation("drain-show", "Show a drain")
    def on_get(self, call: Call, drain_id: str) -> Document:
        """The drain with each of its machines."""
        return {"drain": full(self._catalog.get(call.ctxt, "drains", DrainRecord, drain_id))}


class DrainAction(DrainBase):
    """``/drains/{drain_id}/action``."""

    @operation("drain-action", "Change the course of a drain", status=202, verbs=schemas.ACTIONS)
    def on_post(self, call: Call, drain_id: str) -> Document:
        """The drain in its new state."""
        params = call.body[call.verb] or {}
        return {"drain": full(self._catalog.steer_drain(call.ctxt, drain_id, call.verb, params))}


def fields_of(wanted: Document) -> Document:
    """What the conductor is to be told of a wanted drain, each field with a value.

    :raises BadRequest: the deadline is no time
    """
    fields = schemas.DEFAULTS | wanted
    fields["max_parallel"] = int(fields["max_parallel"])
    if fields["deadline"]:
        fields["deadline"] = moment("deadline", fields["deadline"])
    return fields


def start(call: Call, catalog: CatalogClient, fields: Document) -> DrainRecord:
    """Make a drain, or ask for its plan; a repeat under an idempotency key makes no second one."""
    named = fields if fields["dry_run"] else fields | {"id": mint(call, "drain")}
    return catalog.create(call.ctxt, "drains", DrainRecord, named)


def brief(record: DrainRecord) -> Document:
    """A drain without its machines."""
    return {
        "id": record.id,
        "host": record.host,
        "status": record.status,
        "reason": record.reason,
        "strategy": record.strategy,
        "max_parallel": record.max_parallel,
        "target_zone": record.target_zone,
        "exclude": record.exclude,
        "deadline": record.deadline,
        "who": record.who,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "finished_at": record.finished_at,
        "notes": record.notes,
        "counts": record.counts,
    }


def full(record: DrainRecord) -> Document:
    """A drain with its plan, and what became of it so far."""
    machines = [_machine(machine) for machine in record.machines]
    plan = [{name: machine[name] for name in PLANNED} for machine in machines]
    return brief(record) | {"estimate": record.estimate, "plan": plan, "machines": machines}


def _machine(machine: DrainMachine) -> Document:
    return {
        "id": machine.id,
        "name": machine.name,
        "how": machine.how,
        "target": machine.target,
        "status": machine.status,
        "verdict": machine.verdict,
        "reason": machine.reason,
        "host": machine.host,
        "progress": machine.progress,
        "seconds": machine.seconds,
        "estimate": machine.estimate,
    }
