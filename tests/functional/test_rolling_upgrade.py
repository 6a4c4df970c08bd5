"""Processes of RPC version 1.0 work beside those of this release, on either side of the bus."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import Result

import compute_agent.cmd
from api.cmd import ask_version
from conductor.agent_endpoint import AgentEndpoint
from conductor.catalog_endpoint import CatalogEndpoint
from conductor.db.models import Host, Image
from conductor.identity import Identities
from conductor.ledger_endpoint import LedgerEndpoint
from conductor.passwords import Passwords
from conductor.senders import Senders
from paddock import config, rpc
from paddock.actions import StepKind
from paddock.clients import CONTRACT, AgentClient, CatalogClient, ConductorClient, LedgerClient
from paddock.context import RequestContext
from paddock.records import (
    AcceptRequest,
    CreateRequest,
    FlavorRecord,
    HostRecord,
    ImageRecord,
    Listing,
    Progress,
    Ticket,
)
from paddock.service import Part
from paddock.versions import FIRST, Cap
from tests import factories
from tests.fixtures.cloud import Client, Cloud, wait_for
from tests.fixtures.ledger import Ledger
from tests.fixtures.model_agent import Agent, Machine, World
from tests.pinned import OldCaller, OldServer

CALL_SECONDS = 20.0
API = rpc.conductor_target("conductor-api")
AGENT = rpc.conductor_target("conductor-agent")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud that judges nobody dead while a test does its agent's part by hand."""
    patience = {"conductor": {"reaper_interval": 0.2, "dead_after": 120.0, "ping_interval": 0.5}}
    made = Cloud(tmp_path_factory.mktemp("cloud"), patience)
    made.start()
    yield made
    made.stop()


def transport(url: str, host: str, process: str) -> rpc.Transport:
    """A process's way to the bus."""
    settings = {"transport_url": url, "host": host}
    return rpc.transport(config.load(overrides={"DEFAULT": settings}), process)


def url(cloud: Cloud) -> str:
    """The cloud's bus."""
    return f"paddock://{cloud.parts.layout.bus}/"


@pytest.fixture
def bus(cloud: Cloud) -> Iterator[rpc.Client]:
    """A process on the cloud's bus that calls and casts."""
    client = rpc.Client(transport(url(cloud), "old", "api"), CALL_SECONDS)
    client.start()
    yield client
    client.stop(5.0)


class OldAgent:
    """An agent of version 1.0: it works when told to, and answers what is cast to it."""

    def __init__(self, cloud: Cloud, bus: rpc.Client, host: str, zone: str) -> None:
        self.conductor = ConductorClient(OldCaller(bus.to(AGENT), "conductor-agent"))
        self.machine = Machine(host, zone)
        self.agent = self.boot()
        self.hints: queue.Queue[str | None] = queue.Queue()
        self.pings: queue.Queue[str] = queue.Queue()
        to = rpc.agent_target(host)
        self._server = OldServer(transport(url(cloud), host, "agent"), to, "agent", self)
        self._server.start()

    def boot(self) -> Agent:
        """A new process."""
        self.agent = Agent(self.conductor, World(), self.machine, str(uuid.uuid4()))
        self.agent.hello()
        return self.agent

    def run(
        self, ctxt: Any, step_id: str, instance_id: str | None = None, kind: str | None = None,
        attempt: int = 1,
    ) -> None:  # fmt: skip
        """A hint."""
        self.hints.put(kind)

    def query(self, ctxt: Any, query_id: str) -> None:
        """A question."""
        host, epoch = self.machine.name, self.agent.epoch
        order = self.conductor.fetch_query(host, epoch, query_id)
        self.conductor.answer(host, epoch, query_id, {"ok": {"output": f"old {order.kind}"}})

    def ping(self, ctxt: Any, nonce: str) -> None:
        """A probe."""
        self.conductor.pong(self.machine.name, self.agent.epoch, nonce)
        self.pings.put(nonce)

    def stop(self) -> None:
        """End."""
        self._server.stop(5.0)


class Working:
    """Lets an old agent work in a thread of its own."""

    def __init__(self, old: OldAgent) -> None:
        self._old = old
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._end.wait(0.1):
            self._old.agent.run()


def test_an_old_agent_serves_new_conductors_and_a_new_api(
    cloud: Cloud, bus: rpc.Client, member: Client, create: Callable[..., Result]
) -> None:
    old = OldAgent(cloud, bus, "h9", "az9")
    with Working(old):
        wait_for(lambda: service(bus, cloud, "h9").state == "up" or None, "h9 up")
        server_id = create(member, availability_zone="az9").json["server"]["id"]
        shown = member.await_state(server_id, "active")
        assert shown["OS-EXT-AZ:availability_zone"] == "az9"
        assert old.hints.get(timeout=CALL_SECONDS) == "launch"
        answer = member.act(server_id, "os-getConsoleOutput", {})
        assert answer.json == {"output": "old console"}
        for verb, state in [("vm-poweroff", "powered_off"), ("vm-poweron", "active")]:
            assert member.act(server_id, verb, {}).status_code == 202
            member.await_state(server_id, state)
        assert old.pings.get(timeout=CALL_SECONDS)
        assert service(bus, cloud, "h9").rpc_version == FIRST
        assert member.delete(f"servers/{server_id}").status_code == 204
        member.await_gone(server_id)
    old.stop()


def test_an_old_agents_steps_are_handed_back_by_its_next_process(
    cloud: Cloud, bus: rpc.Client, member: Client, create: Callable[..., Result]
) -> None:
    old = OldAgent(cloud, bus, "h8", "az8")
    old.agent.run()
    server_id = create(member, availability_zone="az8").json["server"]["id"]
    (step,) = old.agent.beat().steps
    order = old.agent.start(step)
    assert (order.kind, order.guest.id) == (StepKind.LAUNCH, server_id)
    old.conductor.progress(Progress(step=old.agent.ref(order), done=1, total=2))
    agent = old.boot()
    agent.reconcile()
    (step,) = agent.beat().steps
    assert step.status == "running"
    assert old.conductor.hand_back(agent.ref(step), step.epoch)
    agent.run()
    member.await_state(server_id, "active")
    agent.report(server_id)
    assert member.delete(f"servers/{server_id}").status_code == 204
    agent.run()
    old.stop()


def admin_context(bus: rpc.Client, cloud: Cloud) -> tuple[CatalogClient, RequestContext]:
    """An old API's client, and who asks."""
    catalog = CatalogClient(OldCaller(bus.to(API), "conductor-api"))
    auth = cloud.passwords["paddock-admin"]
    user, project = {"name": auth["username"]}, {"name": auth["project_name"]}
    found = catalog.authenticate(RequestContext(), user, auth["password"], project)
    ctxt = RequestContext(
        request_id="req-old", user_id=found.user_id, user_name=found.user_name,
        user_epoch=found.user_epoch, project_id=found.project_id, roles=tuple(found.roles),
    )  # fmt: skip
    return catalog, ctxt


def service(bus: rpc.Client, cloud: Cloud, host: str) -> HostRecord:
    """A host as a new API sees it."""
    _, ctxt = admin_context(bus, cloud)
    return CatalogClient(bus.to(API)).get(ctxt, "hosts", HostRecord, host)


def test_an_old_api_uses_new_conductors_and_new_agents(cloud: Cloud, bus: rpc.Client) -> None:
    catalog, ctxt = admin_context(bus, cloud)
    assert catalog.ping(ctxt) == {"database": True}
    ledger = LedgerClient(OldCaller(bus.to(API), "conductor-api"))
    image = catalog.list(ctxt, "images", ImageRecord, Listing())[0]
    flavor = min(
        catalog.list(ctxt, "flavors", FlavorRecord, Listing()), key=lambda one: one.memory_mb
    )
    (ticket,) = ledger.create(
        ctxt,
        CreateRequest(
            action_ids=[str(uuid.uuid4())], instance_ids=[str(uuid.uuid4())], min_count=1,
            name="old", image_id=image.id, flavor_id=flavor.id, zone="az1", host=None,
            networks="auto", metadata={},
        ),
    )  # fmt: skip
    hint(bus, ctxt, ticket)
    shown = until(ledger, ctxt, ticket.instance_id, "active")
    assert shown.zone == "az1"
    for verb, state in [("os-stop", "stopped"), ("os-start", "active"), ("delete", "deleted")]:
        (answer,) = ledger.accept(
            ctxt,
            [AcceptRequest(action_id=str(uuid.uuid4()), instance_id=ticket.instance_id,
                           verb=verb, params={})],
        )  # fmt: skip
        assert isinstance(answer, Ticket)
        hint(bus, ctxt, answer)
        if state != "deleted":
            until(ledger, ctxt, ticket.instance_id, state)
    verbs = [one.verb for one in ledger.list_actions(ctxt, ticket.instance_id, Listing())]
    assert verbs == ["delete", "start", "stop", "create"]
    assert catalog.get(ctxt, "hosts", HostRecord, "h1").binary == "paddock-compute"


def hint(bus: rpc.Client, ctxt: RequestContext, ticket: Ticket) -> None:
    """What an old API casts."""
    assert ticket.host
    assert ticket.step_id
    agent = AgentClient(OldCaller(bus.to(rpc.agent_target(ticket.host)), "agent"))
    agent.run(ctxt, ticket.step_id, ticket.instance_id, ticket.kind)


def until(ledger: LedgerClient, ctxt: RequestContext, instance_id: str, state: str) -> Any:
    """The instance once it is in that state with nothing going on."""

    def ask() -> Any:
        found = ledger.get_instance(ctxt, instance_id)
        return found if (found.vm_state, found.task_state) == (state, None) else None

    return wait_for(ask, f"{instance_id} {state}")


def test_new_processes_learn_what_all_conductors_serve(cloud: Cloud, bus: rpc.Client) -> None:
    cap = Cap()
    catalog = CatalogClient(bus.to(API))
    wait_for(lambda: (ask_version(catalog, cap), cap.version != FIRST)[1] or None, "a version")
    assert cap.version == CONTRACT.version
    assert service(bus, cloud, "h1").rpc_version == CONTRACT.version
    assert service(bus, cloud, "conductor").rpc_version == CONTRACT.version


class OldConductor:
    """A conductor of version 1.0 with a new agent, which beats by itself, and a new API."""

    def __init__(self, root: Path) -> None:
        self.ledger = Ledger(f"sqlite:///{root}/ledger.db")
        self._spec = factories.image(root)
        self.ledger.change(
            Image, self.ledger.image.id, file=self._spec.file, checksum=self._spec.checksum
        )
        self.url = f"paddock://{uuid.uuid4().hex}/"
        conf = factories.agent_conf(root, "h1")
        conf.set_override("transport_url", self.url)
        self.bus = rpc.Client(transport(self.url, "new", "api"), CALL_SECONDS)
        self.parts: list[Part] = [*self._servers(), self.bus, compute_agent.cmd.build(conf)]
        for part in self.parts:
            part.start()

    def _servers(self) -> list[Part]:
        turns, policy, senders = self.ledger.turns, self.ledger.policy, Senders(self.ledger.conf)
        catalog = CatalogEndpoint(turns, policy, senders, Identities(turns, Passwords()))
        served: dict[str, list[object]] = {
            "conductor-agent": [AgentEndpoint(turns, senders)],
            "conductor-api": [LedgerEndpoint(turns, policy, senders), catalog],
        }
        way = transport(self.url, "c1", "conductor")
        return [
            OldServer(way, rpc.conductor_target(topic, "c1"), topic, *endpoints)
            for topic, endpoints in served.items()
        ]

    def stop(self) -> None:
        """End all."""
        for part in reversed(self.parts):
            part.stop(5.0)
        self.ledger.close()


@pytest.fixture
def old_conductor(tmp_path: Path) -> Iterator[OldConductor]:
    made = OldConductor(tmp_path)
    yield made
    made.stop()


def test_a_new_agent_and_a_new_api_work_with_an_old_conductor(old_conductor: OldConductor) -> None:
    ledger = old_conductor.ledger

    def host() -> Host | None:
        found: Host | None = ledger.row(Host, "h1")
        return found if found and found.state == "up" and found.vcpus else None

    wait_for(host, "h1 up and its first heartbeat")
    assert ledger.row(Host, "h1").rpc_version == CONTRACT.version
    ledger.api = LedgerClient(old_conductor.bus.to(API))
    (ticket,) = ledger.create()
    assert ticket.rpc_version == FIRST
    until(ledger.api, ledger.admin, ticket.instance_id, "active")
    for verb, state in [("pause", "paused"), ("unpause", "active"), ("vm-poweroff", "powered_off")]:
        ledger.do(ticket.instance_id, verb)
        until(ledger.api, ledger.admin, ticket.instance_id, state)
    cap = Cap()
    ask_version(CatalogClient(old_conductor.bus.to(API, cap=cap)), cap)
    assert cap.version == FIRST
