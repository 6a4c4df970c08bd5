"""Whatever a message holds, a method answers it or refuses it, and what it refuses changes
nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from oslo_messaging.rpc.dispatcher import ExpectedException

from compute_agent.endpoint import Endpoint
from conductor.agent_endpoint import AgentEndpoint
from conductor.catalog_endpoint import CatalogEndpoint
from conductor.db.models import (
    Action,
    Aggregate,
    Base,
    Flavor,
    Image,
    Instance,
    Network,
    Query,
    Step,
    User,
)
from conductor.identity import Identities
from conductor.ledger_endpoint import LedgerEndpoint
from conductor.passwords import Passwords
from conductor.senders import Senders
from paddock import rpc
from paddock.actions import ACTIONS, StepKind
from paddock.clients import CONTRACT
from paddock.context import RequestContext
from paddock.dispatch import Dispatcher, invoke
from paddock.errors import BadRequest, PaddockError
from tests.agent_lab import AgentLab
from tests.fixtures.lab import Lab
from tests.fixtures.ledger import START, Clock, Ledger
from tests.rpc_shapes import Shapes, on_the_wire, served

EXAMPLES = int(os.environ.get("PADDOCK_EXAMPLES", "10"))
"""For each method; more find more."""
FIELDS = {
    "": ["id", "name", "user", "domain", "length", "reason", "ok", "error", "type", "kwargs"],
    "update_instance": ["name", "description", "metadata", "set_metadata", "unset_metadata"],
    "update_hosts": ["disabled", "disabled_reason", "forced_down", "state"],
    "create_flavors": ["name", "vcpus", "memory_mb", "disk_gb", "is_public", "extra_specs", "id"],
    "update_flavors": ["description", "extra_specs", "vcpus"],
    "create_aggregates": ["name", "zone", "hosts"],
    "update_aggregates": ["name", "zone", "metadata", "add_host", "remove_host", "id"],
    "accept": ["availability_zone", "type", "state", "locked_reason", "reason"],
    "create": ["uuid", "fixed_ip", "name"],
    "list_instances": ["name", "host", "project_id", "deleted", "changes_since", "vm_state",
                       "created_at", "locked", "id", "power_state"],
    "list_flavors": ["min_memory_mb", "min_disk_gb", "is_public", "name", "id"],
}  # fmt: skip
"""Names that the documents in a method's arguments may have."""
CONDUCTORS = (LedgerEndpoint, CatalogEndpoint, AgentEndpoint)
METHODS = {f"{kind.__name__}.{name}": (kind, name, arguments)
           for kind in CONDUCTORS for name, arguments in served(kind).items()}  # fmt: skip
MAY_WRITE = ("authenticate", "accept", "create")
"""These remember what they refused."""
quick = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip


class Office:
    """Conductors' endpoints over a ledger in which there is one of everything."""

    def __init__(self) -> None:
        ledger = Ledger("sqlite://", clock=Clock())
        self.ledger = ledger
        self.lab = Lab(ledger)
        self.vm, self.off = self.lab.active("h1"), self.lab.off("h2")
        ledger.do(self.vm, "pause")
        self.lab.started("h1")
        ledger.create(ledger.member)
        ledger.add(Aggregate(uuid=ledger.new_id(), name="group", zone=None, created_at=START))
        ledger.api.ask(ledger.member, self.vm, "console", {"length": 1})
        identities, senders = Identities(ledger.turns, Passwords()), Senders(ledger.conf)
        self.endpoints: dict[type, Any] = {
            LedgerEndpoint: LedgerEndpoint(ledger.turns, ledger.policy, senders),
            AgentEndpoint: AgentEndpoint(ledger.turns, senders),
            CatalogEndpoint: CatalogEndpoint(ledger.turns, ledger.policy, senders, identities),
        }
        self._raw: sqlite3.Connection = ledger.database.writer.raw_connection().driver_connection
        self._copy = sqlite3.connect(":memory:", check_same_thread=False)
        self._raw.backup(self._copy)

    def words(self) -> dict[str, list[str]]:
        """Texts that mean something here, by their names."""
        keys = {
            kind: [str(row.id) for row in self.ledger.rows(sa.select(kind))]
            for kind in (Action, Aggregate, Flavor, Image, Instance, Network, Query, Step, User)
        }
        hosts, zones = ["h1", "h2", "h3"], ["az1", "az2", "az3"]
        return {
            "": ["name", "id", "created_at", "asc", "desc", "demo", "root", "default", ""],
            "key": [*hosts, *keys[Flavor], *keys[Aggregate], *keys[Image], *keys[Network], "az1"],
            "instance_id": keys[Instance],
            "instance_ids": keys[Instance],
            "image_id": keys[Image],
            "flavor_id": keys[Flavor],
            "query_id": keys[Query],
            "request_id": ["req-1"],
            "action_id": keys[Action],
            "step_id": keys[Step],
            "host": hosts,
            "replaces": [agent.epoch for agent in self.lab.agents.values()],
            "epoch": [agent.epoch for agent in self.lab.agents.values()],
            "recorded_epoch": [agent.epoch for agent in self.lab.agents.values()],
            "zone": zones,
            "kind": ["console"],
            "verb": sorted(ACTIONS),
            "verdict": ["keep", "remove", "release", "unknown"],
            "networks": ["auto", "none"],
        }

    def restore(self) -> None:
        """Have everything as it was at first."""
        self._copy.backup(self._raw)

    def content(self) -> dict[str, Any]:
        """All rows of all tables."""
        return self.ledger.database.read(
            lambda session: {
                table.name: session.execute(table.select()).all()
                for table in Base.metadata.sorted_tables
            }
        )


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.ledger.close()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_a_conductor_answers_or_refuses(office: Office, method: str) -> None:
    kind, name, kinds = METHODS[method]
    shapes = Shapes(office.words(), FIELDS.get(name, FIELDS[""]))
    callers = [office.ledger.admin, office.ledger.member, RequestContext()]

    @quick
    @given(arguments=shapes.arguments(kinds), caller=st.sampled_from(callers))
    def ask(arguments: dict[str, Any], caller: RequestContext) -> None:
        note(f"{caller.roles} {arguments!r}")
        office.restore()
        before = office.content()
        context = caller.to_dict() | {"auth_user": None}
        try:
            invoke(office.endpoints[kind], name, context, on_the_wire(arguments))
        except PaddockError as refusal:
            assert refusal.status < 500, refusal
            if name not in MAY_WRITE:
                assert office.content() == before
        assert office.ledger.violations() == []

    ask()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentLab]:
    lab = AgentLab(tmp_path_factory.mktemp("agent")).started()
    yield lab
    lab.close()


@pytest.mark.parametrize("name", served(Endpoint))
def test_every_hint_to_an_agent_is_taken_or_refused(
    agent: AgentLab, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    words = {"": [*StepKind, "x"], "kind": [*StepKind], "instance_id": ["i1"], "step_id": ["s1"]}
    arguments = Shapes(words, ["host"]).arguments(served(Endpoint)[name])
    caller = agent.client.to(rpc.agent_target("h1"))

    @quick
    @given(arguments=arguments)
    def hint(arguments: dict[str, Any]) -> None:
        note(repr(arguments))
        with suppress(BadRequest):  # a call, so that its end is seen; RemoteError is not caught
            caller.call(RequestContext(), name, **arguments)

    hint()
    agent.done(StepKind.LAUNCH, agent.guest())
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(
    "message",
    [{}, {"method": 7, "args": {}}, {"method": "ping", "args": []}, {"method": None},
     {"method": "ping", "args": {}, "version": "x"}, {"method": "ping", "version": [1]},
     {"method": "ping", "args": {}, "namespace": {}}],
    ids=str,
)  # fmt: skip
def test_what_is_no_call_is_refused(message: Any, caplog: pytest.LogCaptureFixture) -> None:
    incoming = SimpleNamespace(message=message, ctxt={"auth_user": "h7"}, client_timeout=None)
    with pytest.raises(ExpectedException) as refused:
        Dispatcher([Endpoint], CONTRACT.version, "h1").dispatch(incoming)
    assert refused.value.exc_info[0] is BadRequest
    assert caplog.messages == ["Refused to h7: The message is no call of a method."]
