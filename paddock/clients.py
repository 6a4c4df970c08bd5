"""The only place with remote method names and versions: one client class per edge.

Arguments and answers are records; here they become JSON values and back. Every call is bounded
by the call timeout and raises BusUnavailable when the peer does not answer, else the error that
the peer raised.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from paddock import records as r
from paddock.context import RequestContext
from paddock.errors import PaddockError, from_wire
from paddock.versions import FIRST, Contract

T = TypeVar("T")

CONTRACT = Contract(
    {
        "1.0": (
            # topic conductor-api: instances, then all else
            "accept", "create", "list_instances", "get_instance", "update_instance",
            "list_actions", "get_action", "ask", "fetch_answer",
            "ping_conductor", "authenticate", "identify", "pause_host", "resume_host",
            "list_flavors", "get_flavors", "create_flavors", "update_flavors", "delete_flavors",
            "list_aggregates", "get_aggregates", "create_aggregates", "update_aggregates",
            "delete_aggregates",
            "list_hosts", "get_hosts", "update_hosts", "delete_hosts",
            "list_images", "get_images", "list_networks", "get_networks", "list_zones", "get_zones",
            # topic conductor-agent
            "hello", "heartbeat", "start", "finish", "hand_back", "progress", "report", "reconcile",
            "reconciled", "fetch_query", "answer", "pong",
            # an agent's own topic
            "run", "query", "ping",
        ),
        "1.1": (
            "HelloAnswer.rpc_version", "HeartbeatAnswer.rpc_version", "Ticket.rpc_version",
            "InstanceRecord.wanted_zone",
            "HostRecord.rpc_version", "Hello.booted", "Found.action_id", "Found.worked_on",
            "HostRecord.revoked",
            "open_image", "ImageSpec.ticket", "ImageSpec.size", "open_disk", "DiskSource.ticket",
        ),
        "1.2": ("list_drains", "get_drains", "create_drains", "steer_drain"),
        "1.3": ("HostFacts.landing", "WorkOrder.landing"),
    }
)  # fmt: skip
"""What each version added: methods, arguments of older methods, fields of older records."""


class Caller(Protocol):
    """The client side of one topic, as ``rpc.py`` makes it."""

    def call(self, ctxt: RequestContext, method: str, **kwargs: Any) -> Any:
        """Ask and wait for the answer."""

    def cast(self, ctxt: RequestContext, method: str, **kwargs: Any) -> None:
        """Send and forget; never raises, never waits."""


def wire(value: Any) -> Any:
    """JSON values of a record, or of lists and dicts of records."""
    return msgspec.to_builtins(value)


def read(value: Any, kind: type[T]) -> T:
    """The record (or list of records) that :func:`wire` described."""
    return msgspec.convert(value, kind)


def read_item(item: dict[str, Any], kind: type[T]) -> T | PaddockError:
    """One item of a batch's answer: ``{"ok": record}`` or ``{"error": document}``."""
    if "error" in item:
        return from_wire(item["error"])
    return msgspec.convert(item.get("ok"), kind)


class LedgerClient:
    """What the API asks of the conductor about instances and actions (topic conductor-api)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def accept(
        self, ctxt: RequestContext, requests: list[r.AcceptRequest]
    ) -> list[r.Ticket | PaddockError]:
        """Accept wishes; each is accepted or refused by itself."""
        items = self._caller.call(ctxt, "accept", requests=wire(requests))
        return [read_item(item, r.Ticket) for item in items]

    def create(self, ctxt: RequestContext, request: r.CreateRequest) -> list[r.Ticket]:
        """Accept between ``min_count`` and ``max_count`` new instances, or refuse them all."""
        answer = self._caller.call(ctxt, "create", request=wire(request))
        return read(answer, list[r.Ticket])

    def list_instances(self, ctxt: RequestContext, listing: r.Listing) -> list[r.InstanceRecord]:
        """A page of instances, of the caller's project unless the filter ``all_tenants`` is set."""
        answer = self._caller.call(ctxt, "list_instances", listing=wire(listing))
        return read(answer, list[r.InstanceRecord])

    def get_instance(self, ctxt: RequestContext, instance_id: str) -> r.InstanceRecord:
        """One instance; NotFound when it is not there or another project's."""
        answer = self._caller.call(ctxt, "get_instance", instance_id=instance_id)
        return read(answer, r.InstanceRecord)

    def update_instance(
        self, ctxt: RequestContext, instance_id: str, changes: dict[str, Any]
    ) -> r.InstanceRecord:
        """Change ``name``, ``description``, or metadata: all (``metadata``), some
        (``set_metadata``), or remove one by its name (``unset_metadata``)."""
        answer = self._caller.call(
            ctxt, "update_instance", instance_id=instance_id, changes=changes
        )
        return read(answer, r.InstanceRecord)

    def list_actions(
        self, ctxt: RequestContext, instance_id: str, listing: r.Listing
    ) -> list[r.ActionRecord]:
        """The instance's actions, newest first; also of a deleted instance."""
        answer = self._caller.call(
            ctxt, "list_actions", instance_id=instance_id, listing=wire(listing)
        )
        return read(answer, list[r.ActionRecord])

    def get_action(self, ctxt: RequestContext, instance_id: str, request_id: str) -> r.ActionRecord:
        """The instance's action of that request."""
        answer = self._caller.call(
            ctxt, "get_action", instance_id=instance_id, request_id=request_id
        )
        return read(answer, r.ActionRecord)

    def ask(
        self, ctxt: RequestContext, instance_id: str, kind: str, params: dict[str, Any]
    ) -> tuple[str, str]:
        """Note a read-only question; gives its id and the host to hint."""
        answer = self._caller.call(ctxt, "ask", instance_id=instance_id, kind=kind, params=params)
        return read(answer, tuple[str, str])

    def fetch_answer(self, ctxt: RequestContext, query_id: str) -> dict[str, Any] | None:
        """The host's answer, None while there is none."""
        answer = self._caller.call(ctxt, "fetch_answer", query_id=query_id)
        return read(answer, dict[str, Any] | None)  # type: ignore[arg-type]


class CatalogClient:
    """What the API asks of the conductor about everything else (topic conductor-api).

    Small resources share one shape: ``list``, ``get``, ``create``, ``update``, ``delete`` of a
    named collection. Collections: flavors, images, aggregates, zones, hosts, networks, drains.
    Fields,
    filters and sort keys are named as in the records; a filter's value is one that must be equal,
    or a list of those that may be. Markers and keys are ids; hosts are also found by name.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def ping(self, ctxt: RequestContext) -> dict[str, Any]:
        """Whether conductor and database answer: ``{"database": true}``.

        ``rpc_version`` is the lowest of all live conductors; one of version 1.0 does not say it.
        """
        return read(self._caller.call(ctxt, "ping_conductor"), dict[str, Any])

    def authenticate(
        self, ctxt: RequestContext, user: dict[str, str], password: str, project: dict[str, str]
    ) -> r.Identity:
        """Check a password; ``user`` and ``project`` have ``id`` or ``name``.

        Unauthorized; with ``retry_after``, seconds, when too many of that user's log-ins from the
        context's address failed.
        """
        answer = self._caller.call(
            ctxt, "authenticate", user=user, password=password, project=project
        )
        return read(answer, r.Identity)

    def identify(self, ctxt: RequestContext, project: dict[str, str]) -> r.Identity:
        """The context's user, still of its epoch, in that project (or the context's)."""
        return read(self._caller.call(ctxt, "identify", project=project), r.Identity)

    def list(
        self, ctxt: RequestContext, collection: str, kind: type[T], listing: r.Listing
    ) -> list[T]:
        """A page of a collection.

        Flavors have the filters ``min_memory_mb`` and ``min_disk_gb`` too, and are those that are
        public unless ``is_public`` is false or, for all, None.
        """
        answer = self._caller.call(ctxt, f"list_{collection}", listing=wire(listing))
        return read(answer, list[kind])  # type: ignore[valid-type]

    def get(self, ctxt: RequestContext, collection: str, kind: type[T], key: str) -> T:
        """One thing; NotFound."""
        return read(self._caller.call(ctxt, f"get_{collection}", key=key), kind)

    def create(
        self, ctxt: RequestContext, collection: str, kind: type[T], fields: dict[str, Any]
    ) -> T:
        """Make a thing; Conflict when it is there. Flavors: any fields; aggregates: name, zone;
        drains: host, reason, dry_run, strategy, max_parallel, target_zone, exclude, deadline."""
        return read(self._caller.call(ctxt, f"create_{collection}", fields=fields), kind)

    def update(
        self, ctxt: RequestContext, collection: str, kind: type[T], key: str,
        changes: dict[str, Any],
    ) -> T:  # fmt: skip
        """Change a thing.

        Flavors: ``description``, ``extra_specs``. Aggregates: ``name``, ``zone``, ``metadata``,
        ``add_host``, ``remove_host``. Hosts: ``disabled``, ``disabled_reason``, ``forced_down``.
        Maps are merged; a None in one removes that name.
        """
        answer = self._caller.call(ctxt, f"update_{collection}", key=key, changes=changes)
        return read(answer, kind)

    def delete(self, ctxt: RequestContext, collection: str, key: str) -> None:
        """Remove a thing."""
        self._caller.call(ctxt, f"delete_{collection}", key=key)

    def open_image(self, ctxt: RequestContext, ticket: str, checksum: str) -> r.ImageSpec:
        """The image with that checksum, for who works on the step of a ticket; NotFound."""
        answer = self._caller.call(ctxt, "open_image", ticket=ticket, checksum=checksum)
        return read(answer, r.ImageSpec)

    def pause_host(self, ctxt: RequestContext, key: str, reason: str | None) -> r.HostRecord:
        """Hold a host's pause in the caller's name."""
        return read(self._caller.call(ctxt, "pause_host", key=key, reason=reason), r.HostRecord)

    def resume_host(self, ctxt: RequestContext, key: str) -> r.HostRecord:
        """Lift the administrators' pause of a host."""
        return read(self._caller.call(ctxt, "resume_host", key=key), r.HostRecord)

    def steer_drain(
        self, ctxt: RequestContext, key: str, verb: str, params: dict[str, Any]
    ) -> r.DrainRecord:
        """Change the course of a drain; Conflict when its status does not allow that.

        :param verb: ``pause``, ``resume``, ``cancel``, ``restore`` or ``retry``
        :param params: of ``cancel``: ``reopen``, whether the host is open again afterwards
        """
        answer = self._caller.call(ctxt, "steer_drain", key=key, verb=verb, params=params)
        return read(answer, r.DrainRecord)


class ConductorClient:
    """What an agent asks of the conductor (topic conductor-agent).

    :param learn: told the lowest RPC version of all live conductors, as often as they say it
    """

    def __init__(self, caller: Caller, learn: Callable[[str], object] = lambda _: None) -> None:
        self._caller = caller
        self._learn = learn
        self._ctxt = RequestContext()

    def hello(self, hello: r.Hello) -> r.HelloAnswer:
        """Announce a new agent process. StaleEpoch when another one speaks for the host."""
        told = self._caller.call(self._ctxt, "hello", hello=wire(hello))
        answer = read(told, r.HelloAnswer)
        self._learn(answer.rpc_version)
        return answer

    def heartbeat(self, beat: r.Heartbeat) -> r.HeartbeatAnswer:
        """Be alive; the answer heals. StaleEpoch."""
        told = self._caller.call(self._ctxt, "heartbeat", beat=wire(beat))
        answer = read(told, r.HeartbeatAnswer)
        self._learn(answer.rpc_version)
        return answer

    def start(self, steps: list[r.StepRef]) -> list[r.WorkOrder | PaddockError]:
        """Begin steps; StepRefused for each that the ledger does not let start."""
        items = self._caller.call(self._ctxt, "start", steps=wire(steps))
        return [read_item(item, r.WorkOrder) for item in items]

    def finish(self, outcomes: list[r.Outcome]) -> list[bool | PaddockError]:
        """End steps; True when recorded, False when refused and taken as an observation."""
        items = self._caller.call(self._ctxt, "finish", outcomes=wire(outcomes))
        return [read_item(item, bool) for item in items]

    def hand_back(self, step: r.StepRef, recorded_epoch: str | None) -> bool:
        """Give back a running step that this process does not hold; False when too late."""
        return read(
            self._caller.call(
                self._ctxt, "hand_back", step=wire(step), recorded_epoch=recorded_epoch
            ),
            bool,
        )

    def progress(self, progress: r.Progress) -> None:
        """Tell how far a step is; StepRefused when it must stop."""
        self._caller.call(self._ctxt, "progress", progress=wire(progress))

    def report(self, host: str, epoch: str, seen: list[r.Observation]) -> None:
        """Tell what idle instances look like."""
        self._caller.call(self._ctxt, "report", host=host, epoch=epoch, seen=wire(seen))

    def reconcile(self, host: str, epoch: str, found: list[r.Found]) -> list[r.Verdict]:
        """Compare everything found on the host with the ledger."""
        answer = self._caller.call(
            self._ctxt, "reconcile", host=host, epoch=epoch, found=wire(found)
        )
        return read(answer, list[r.Verdict])

    def reconciled(self, host: str, epoch: str, removed: list[r.Verdict]) -> None:
        """The verdicts were carried out: leftovers settle and the host is up."""
        self._caller.call(self._ctxt, "reconciled", host=host, epoch=epoch, removed=wire(removed))

    def fetch_query(self, host: str, epoch: str, query_id: str) -> r.QueryOrder:
        """What a query asks; NotFound when it is over or another host's."""
        answer = self._caller.call(
            self._ctxt, "fetch_query", host=host, epoch=epoch, query_id=query_id
        )
        return read(answer, r.QueryOrder)

    def answer(self, host: str, epoch: str, query_id: str, answer: dict[str, Any]) -> None:
        """Answer a query: ``{"ok": …}`` or ``{"error": document}``."""
        self._caller.call(
            self._ctxt, "answer", host=host, epoch=epoch, query_id=query_id, answer=answer
        )

    def open_disk(self, host: str, epoch: str, ticket: str) -> r.DiskRef:
        """The disk on this host that a ticket opens, which somebody has shown; NotFound."""
        answer = self._caller.call(self._ctxt, "open_disk", host=host, epoch=epoch, ticket=ticket)
        return read(answer, r.DiskRef)

    def pong(self, host: str, epoch: str, nonce: str) -> None:
        """Answer the conductor's ping, so that it knows that hints arrive."""
        self._caller.call(self._ctxt, "pong", host=host, epoch=epoch, nonce=nonce)


class AgentClient:
    """Hints from API and conductor to one host's agent: casts with ids only."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def run(
        self, ctxt: RequestContext, step_id: str, instance_id: str | None = None,
        kind: str | None = None, attempt: int = 1,
    ) -> None:  # fmt: skip
        """A step waits in the ledger.

        An agent takes the instance's slot before it asks for the work, so without instance and
        kind it first has to ask, by a heartbeat, what the step is.
        """
        self._caller.cast(
            ctxt, "run", step_id=step_id, instance_id=instance_id, kind=kind, attempt=attempt
        )

    def query(self, ctxt: RequestContext, query_id: str) -> None:
        """A question waits in the ledger."""
        self._caller.cast(ctxt, "query", query_id=query_id)

    def ping(self, ctxt: RequestContext, nonce: str) -> None:
        """Show that hints arrive."""
        self._caller.cast(ctxt, "ping", nonce=nonce)


class AgentClients:
    """The hosts' agents, each sent no more than it understands.

    :param to: a caller of a host's agent that serves some RPC version
    """

    def __init__(self, to: Callable[[str, str], Caller]) -> None:
        self._of = functools.cache(lambda host, version: AgentClient(to(host, version)))

    def __call__(self, host: str, version: str = FIRST) -> AgentClient:
        """The client of a host's agent, which last told that it serves that RPC version."""
        return self._of(host, version)
