"""``/servers/{server_id}/os-instance-actions``: what was asked of a server and what became of it.

Beside the compute API's fields each action has ``id``, ``status``, ``reason``, ``finish_time``
and ``steps``, which are Paddock's own.
"""

from __future__ import annotations

from api.call import Call, Document
from api.listing import collect, next_link, page_size
from api.operations import Frame, Resource, operation
from api.schemas.instance_actions import LIST
from api.server_view import host_id
from api.times import interval, micros
from paddock.actions import ACTIONS
from paddock.clients import LedgerClient
from paddock.records import ActionRecord, Listing, StepRecord

RESULTS = {"succeeded": "Success", "failed": "Error", "superseded": "Error"}


class InstanceActionBase(Resource):
    """What both resources share."""

    def __init__(self, frame: Frame, ledger: LedgerClient) -> None:
        super().__init__(frame)
        self._ledger = ledger

    def _admit(self, call: Call, server_id: str) -> None:
        """Old versions do not find what was asked of a server that is deleted."""
        if not self.frame.differences.serves("instance-actions-of-the-deleted", call.version):
            self._ledger.get_instance(call.ctxt, server_id)


class InstanceActions(InstanceActionBase):
    """The list.

    :param largest: rows of a page at most
    """

    def __init__(self, frame: Frame, ledger: LedgerClient, largest: int) -> None:
        super().__init__(frame, ledger)
        self._largest = largest

    @operation("instance-actions", "List what was asked of a server", query=LIST)
    def on_get(self, call: Call, server_id: str) -> Document:
        """Newest first."""
        self._admit(call, server_id)
        most = page_size(call.query, self._largest)
        asked = Listing(filters=interval(call.query), marker=call.query.get("marker"))
        records = collect(
            lambda listing: self._ledger.list_actions(call.ctxt, server_id, listing),
            asked,
            most,
            "request_id",
        )
        rows = [self.shape(call, "instance-action", view(call, record)) for record in records]
        answer: Document = {"instanceActions": rows}
        if "limit" in call.query and records and len(records) == most:
            path = f"/servers/{server_id}/os-instance-actions"
            answer["links"] = next_link(call, path, records[-1].request_id)
        return answer


class InstanceAction(InstanceActionBase):
    """One action, by its request's id."""

    @operation("instance-action", "Show what became of a request")
    def on_get(self, call: Call, server_id: str, request_id: str) -> Document:
        """With its events, one for each step."""
        self._admit(call, server_id)
        record = self._ledger.get_action(call.ctxt, server_id, request_id)
        document = self.shape(call, "instance-action", view(call, record))
        events = [
            self.shape(call, "instance-action-event", _event(call, record, step))
            for step in record.steps
            if step.started_at
        ]
        shown: Document = {"events": events}
        if not call.is_admin:
            shown = self.shape(call, "instance-action-for-members", shown)
        return {"instanceAction": document | shown}


def view(call: Call, record: ActionRecord) -> Document:
    """An action in its newest shape."""
    known = ACTIONS.get(record.verb)
    return {
        "action": known.shown if known else record.verb,
        "instance_uuid": record.instance_id,
        "request_id": record.request_id,
        "user_id": record.user_id,
        "project_id": record.project_id,
        "start_time": micros(record.created_at),
        "updated_at": micros(record.updated_at or record.created_at),
        "message": record.reason,
        "id": record.id,
        "status": record.status,
        "reason": record.reason,
        "finish_time": micros(record.finished_at),
        "steps": [_step(call, record, step) for step in record.steps],
    }


def _step(call: Call, record: ActionRecord, step: StepRecord) -> Document:
    """A step's reason may name what is the host's own: others than administrators get the
    action's."""
    document: Document = {
        "kind": step.kind,
        "status": step.status,
        "attempt": step.attempt,
        "created_at": micros(step.created_at),
        "start_time": micros(step.started_at),
        "finish_time": micros(step.finished_at),
        "reason": step.reason if call.is_admin or step.reason is None else record.reason,
        "progress": {"done": step.done, "total": step.total},
    }
    return document | ({"host": step.host} if call.is_admin else {})


def _event(call: Call, record: ActionRecord, step: StepRecord) -> Document:
    document: Document = {
        "event": f"compute_{step.kind}",
        "start_time": micros(step.started_at),
        "finish_time": micros(step.finished_at),
        "result": RESULTS.get(step.status),
        "hostId": host_id(record.project_id or "", step.host),
    }
    for_admins = {"host": step.host, "traceback": None, "details": step.reason}
    return document | (for_admins if call.is_admin else {})
