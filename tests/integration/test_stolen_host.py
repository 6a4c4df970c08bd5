"""A stolen compute host: all that its agent's credentials allow is tried, over a real broker.

Each attempt is refused and logged, by the broker or by the conductor, and the ledger stays as it
is. What agents and APIs may call is read from the endpoints: a new method needs an attempt here.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, get_type_hints

import amqp.exceptions
import kombu
import msgspec
import pytest

from conductor import hosts
from conductor.agent_endpoint import AgentEndpoint
from conductor.catalog_endpoint import CatalogEndpoint
from conductor.ledger_endpoint import LedgerEndpoint
from paddock import rpc
from paddock.actions import Seen
from paddock.clients import CatalogClient, wire
from paddock.context import RequestContext
from paddock.errors import Forbidden, HostUnavailable, NoValidHost
from paddock.records import (
    AcceptRequest,
    Found,
    Heartbeat,
    Hello,
    HostFacts,
    Observation,
    Outcome,
    Progress,
    Resources,
    Verdict,
)
from tests.agent_lab import eventually
from tests.fixtures.stolen import SECONDS, THIEF, VICTIM, Scene, outcome, scene

__all__ = ["scene"]

Arguments = dict[str, Any]
Attempt = Callable[[Scene], Arguments]
HARMLESS = {"ping_conductor"}
"""Methods that tell nothing but that the conductor and its database answer."""


def exposed(*endpoints: type) -> dict[str, Callable[..., Any]]:
    """What a topic's endpoints let others call."""
    return {
        name: method
        for endpoint in endpoints
        for name, method in vars(endpoint).items()
        if hasattr(method, "exposed")
    }


FOR_AGENTS = exposed(AgentEndpoint)
FOR_USERS = exposed(LedgerEndpoint, CatalogEndpoint)


# --- in the names of users


class Administrator(RequestContext, frozen=True, kw_only=True):
    """A context that claims to come from an API, in an administrator's name."""

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"auth_user": "api"}


RECORDS: dict[str, Callable[[Scene], Any]] = {
    "requests": lambda scene: [
        AcceptRequest(action_id="a", instance_id=scene.vm, verb="delete", params={})
    ],
    "request": lambda scene: {
        "action_ids": ["a"], "instance_ids": ["i"], "min_count": 1, "name": "n",
        "image_id": scene.ledger.image.id, "flavor_id": "1", "zone": None, "host": None,
        "networks": "none", "metadata": {},
    },
}  # fmt: skip
PLAIN = ("x", {}, {"name": "x"}, [], 1)


def arguments_of(scene: Scene, method: Callable[..., Any]) -> Arguments:
    """Arguments of the right types."""
    wanted = list(inspect.signature(method).parameters.values())[2:]
    return {
        one.name: wire(RECORDS[one.name](scene))
        if one.name in RECORDS
        else plain(get_type_hints(method)[one.name])
        for one in wanted
        if one.default is inspect.Parameter.empty
    }


def plain(kind: Any) -> Any:
    """A value of that type."""
    for value in PLAIN:
        with suppress(msgspec.ValidationError):
            return msgspec.convert(value, kind)
    raise AssertionError(f"nothing here is of the type {kind}")


def test_nothing_is_done_in_a_users_name(scene: Scene) -> None:
    caller, before = scene.caller("conductor-api"), scene.snapshot()
    admin = scene.ledger.admin
    claimed = Administrator(
        user_id=admin.user_id, user_epoch=1, project_id=admin.project_id, roles=("admin",)
    )
    allowed = []
    for name, method in FOR_USERS.items():
        logged = len(scene.refused())
        try:
            caller.call(claimed, name, **arguments_of(scene, method))
        except Forbidden as error:
            assert "does not speak for users" in error.message, name
            assert len(scene.refused()) == logged + 1, name
        else:
            allowed.append(name)
    assert set(allowed) == HARMLESS
    assert scene.snapshot() == before


# --- in the names of hosts, and of the own host


def hello(scene: Scene, **changes: Any) -> Arguments:
    fields = {
        "host": THIEF, "epoch": "new", "replaces": scene.thief.epoch,
        "machine_id": f"id-{THIEF}", "zone": "az2", "facts": scene.thief.facts,
    }  # fmt: skip
    return {"hello": wire(Hello(**(fields | changes)))}


def beat(scene: Scene, host: str = THIEF, **facts: Any) -> Arguments:
    agent = scene.thief if host == THIEF else scene.victim
    told = wire(agent.facts) | facts
    return {"beat": {"host": host, "epoch": agent.epoch, "facts": told, "held": []}}


def resources(**values: int) -> Any:
    return wire(Resources(**({"vcpus": 1, "memory_mb": 1, "disk_gb": 1} | values)))


def as_victim(scene: Scene, **more: Any) -> Arguments:
    """The victim's name, with its epoch: everything that its own agent would say."""
    return {"host": VICTIM, "epoch": scene.victim.epoch} | wire(more)


def as_thief(scene: Scene, **more: Any) -> Arguments:
    return {"host": THIEF, "epoch": scene.thief.epoch} | wire(more)


def found(vm: str, seen: Seen = Seen.RUNNING) -> Found:
    return Found(instance_id=vm, generation=99, launched_by=None, seen=seen, disks=[99])


def seen(scene: Scene, vm: str, what: Seen) -> Observation:
    generation = scene.ledger.instance(vm).generation
    return Observation(instance_id=vm, generation=generation, seen=what)


def stolen_step(scene: Scene, host: str) -> Any:
    """The victim's running step, named as its own or as the thief's."""
    agent = scene.victim if host == VICTIM else scene.thief
    return scene.ref(agent, scene.foreign, host)


ERROR = {"type": "HypervisorError", "message": "forged", "kwargs": {}}
ATTEMPTS: dict[str, list[Attempt]] = {
    "hello": [
        lambda s: hello(s, host=VICTIM, machine_id=f"id-{VICTIM}", replaces=s.victim.epoch),
        lambda s: hello(s, host="h9"),
        lambda s: hello(s, host="api"),
        lambda s: hello(s, host="c1"),
        lambda s: hello(s, zone="az1"),
        lambda s: hello(s, machine_id="another"),
        lambda s: hello(s, replaces="another"),
        lambda s: hello(s, epoch="x" * 37),
        lambda s: hello(s, machine_id="x" * 256),
        lambda s: hello(s, booted=float("nan")),
        lambda s: hello(s, booted=1e300),
    ],
    "heartbeat": [
        lambda s: beat(s, VICTIM),
        lambda s: beat(s, resources=resources(memory_mb=2**40)),
        lambda s: beat(s, resources=resources(vcpus=-1)),
        lambda s: beat(s, version="\x1b]0;owned\x07"),
        lambda s: beat(s, version="1\n2030-01-01 all is well"),
        lambda s: beat(s, capabilities=["x" * 200] * 1000),
        lambda s: beat(s, capabilities=["x"] * 100_000),
        lambda s: beat(s, extra={"a": "x" * 70_000}),
        lambda s: {"beat": wire(Heartbeat(host=THIEF, epoch=s.victim.epoch, held=[],
                                          facts=HostFacts(resources=Resources(
                                              vcpus=1, memory_mb=1, disk_gb=1),
                                              capabilities=[], version="1")))},
    ],
    "start": [
        lambda s, host=host: {"steps": wire([stolen_step(s, host)])}  # type: ignore[misc]
        for host in (VICTIM, THIEF)
    ] + [lambda s: {"steps": wire([stolen_step(s, THIEF)] * 101)}],
    "finish": [
        lambda s, host=host, error=error: {  # type: ignore[misc]
            "outcomes": wire([Outcome(step=stolen_step(s, host), error=error, seen=Seen.GONE)])
        }
        for host in (VICTIM, THIEF)
        for error in (None, ERROR)
    ],
    "hand_back": [
        lambda s, host=host: {  # type: ignore[misc]
            "step": wire(stolen_step(s, host)), "recorded_epoch": s.victim.epoch
        }
        for host in (VICTIM, THIEF)
    ],
    "progress": [
        lambda s, host=host: {  # type: ignore[misc]
            "progress": wire(Progress(step=stolen_step(s, host), done=1, total=2))
        }
        for host in (VICTIM, THIEF)
    ] + [
        lambda s: {"progress": wire(
            Progress(step=s.ref(s.thief, s.work), done=2**63, total=2**63))},
    ],
    "report": [
        lambda s: as_victim(s, seen=[seen(s, s.vm, Seen.GONE)]),
        lambda s: as_thief(s, seen=[seen(s, s.vm, Seen.RUNNING)]),
        lambda s: as_thief(s, seen=[seen(s, s.vm, Seen.RUNNING)] * 2001),
    ],
    "reconcile": [
        lambda s: as_victim(s, found=[]),
        lambda s: as_thief(s, found=[*s.thief.told(), found(s.vm)]),
        lambda s: as_thief(s, found=[*s.thief.told(), found(s.vm, Seen.PAUSED)]),
        lambda s: as_thief(s, found=[*s.thief.told(), found(s.foreign.guest.id)]),
        lambda s: as_thief(s, found=[*s.thief.told(), found("x" * 1000)]),
    ],
    "reconciled": [
        lambda s: as_victim(s, removed=[]),
        lambda s: as_thief(s, removed=[Verdict(instance_id=s.vm, verdict="remove", below=99)]),
        lambda s: as_thief(s, removed=[Verdict(instance_id=s.mine, verdict="remove", below=99)]),
    ],
    "fetch_query": [
        lambda s: as_victim(s, query_id=s.query),
        lambda s: as_thief(s, query_id=s.query),
    ],
    "answer": [
        lambda s: as_victim(s, query_id=s.query, answer={"ok": {"output": "forged"}}),
        lambda s: as_thief(s, query_id=s.query, answer={"ok": {"output": "forged"}}),
        lambda s: as_thief(s, query_id=s.own_query, answer={"ok": {"output": "x" * 2_000_000}}),
        lambda s: as_thief(s, query_id=s.own_query, answer={"ok": {"output": 7}}),
        lambda s: as_thief(s, query_id=s.own_query, answer={"ok": [1]}),
    ],
    "open_disk": [
        lambda s: as_victim(s, ticket=s.moving.source.ticket),
        lambda s: as_thief(s, ticket=s.moving.source.ticket),
        lambda s: as_thief(s, ticket=s.work.guest.image.ticket),
        lambda s: as_thief(s, ticket=s.foreign.guest.image.ticket),
        lambda s: as_thief(s, ticket=f"{s.foreign.step_id}."),
    ],
    "pong": [lambda s: as_victim(s, nonce="0.1")],
}  # fmt: skip


def test_every_method_that_agents_may_call_is_tried() -> None:
    assert set(ATTEMPTS) == set(FOR_AGENTS)


@pytest.mark.parametrize("method", FOR_AGENTS)
def test_a_host_speaks_for_itself_and_of_what_is_its_own_only(scene: Scene, method: str) -> None:
    caller, before = scene.caller("conductor-agent"), scene.snapshot()
    for number, attempt in enumerate(ATTEMPTS[method]):
        logged = len(scene.refused())
        ended = outcome(caller, method, **attempt(scene))
        assert len(scene.refused()) > logged, (number, ended)
        assert scene.snapshot() == before, (number, ended)


@pytest.mark.parametrize("method", FOR_AGENTS)
def test_a_call_of_other_arguments_is_refused_and_logged(scene: Scene, method: str) -> None:
    caller, right = scene.caller("conductor-agent"), LEGITIMATE[method](scene)
    for arguments in ({}, right | {"x": 1}, dict.fromkeys(right, 7)):
        logged = len(scene.refused())
        assert outcome(caller, method, **arguments) == ["BadRequest"]
        assert scene.refused()[logged].startswith(f"Refused to {THIEF}: {method}: ")


def test_an_answer_that_is_an_error_cannot_claim_to_be_another(scene: Scene) -> None:
    forged = {"type": "Unauthorized", "message": "x" * 9999, "kwargs": {"retry_after": "1\r\nA: b"}}
    own = as_thief(scene, query_id=scene.own_query, answer={"error": forged})
    assert outcome(scene.caller("conductor-agent"), "answer", **own) == []
    said = scene.ledger.api.fetch_answer(scene.ledger.admin, scene.own_query)
    assert said is not None
    assert (said["error"]["type"], said["error"]["kwargs"]) == ("HypervisorError", {})
    assert len(said["error"]["message"]) <= 2000


def test_progress_moves_a_deadline_no_further_than_its_limit(scene: Scene) -> None:
    limit = scene.step(scene.work).hard_deadline
    caller = scene.caller("conductor-agent")
    for done in range(1, 20):
        told = Progress(step=scene.ref(scene.thief, scene.work), done=done, total=99)
        assert outcome(caller, "progress", progress=wire(told)) == []
    after = scene.step(scene.work)
    assert (after.hard_deadline, after.deadline <= limit) == (limit, True)


# --- past the conductor: the broker itself

QUEUES = ("compute.h2", "compute.h2.h2", "conductor-api", "conductor-agent", "conductor-api.c1",
          "reply_ctl:api:1", "reply_h2:agent:1", "reply_h77:agent:1", "compute.h7.h2",
          "compute", "mine")  # fmt: skip
EXCHANGES = ("amq.topic", "amq.direct", "amq.fanout", "amq.headers", "amq.match", "mine")
MINE = "compute.h7.h7"
"""The one queue that the thief may have, read and write to."""
REFUSED = " caused a channel exception "
Broken = Callable[[Any], Any]


def published(exchange: str, key: str, text: str = "{}", **properties: Any) -> Broken:
    def publish(channel: Any) -> None:
        message = amqp.Message(text, **properties)
        channel.basic_publish_confirm(message, exchange, key, timeout=SECONDS)

    return publish


def bound(exchange: str, key: str) -> Broken:
    def bind(channel: Any) -> None:
        channel.queue_declare(MINE, auto_delete=False)
        channel.queue_bind(MINE, exchange, key)

    return bind


def declared(queue: str, **arguments: Any) -> Broken:
    return lambda channel: channel.queue_declare(queue, arguments=arguments, auto_delete=False)


def tried() -> Iterator[tuple[str, Broken]]:
    """Names of attempts, and what each does with a channel."""
    for queue in QUEUES:
        yield f"declare {queue}", declared(queue)
        yield f"delete {queue}", lambda channel, queue=queue: channel.queue_delete(queue)
        yield f"purge {queue}", lambda channel, queue=queue: channel.queue_purge(queue)
        yield f"get {queue}", lambda channel, queue=queue: channel.basic_get(queue)
        yield f"consume {queue}", lambda channel, queue=queue: channel.basic_consume(queue)
        yield f"write to {queue}", published("", queue)
    for exchange in EXCHANGES:
        if exchange != "amq.direct":
            yield f"publish to {exchange}", published(exchange, "compute.h2.h2")
        yield f"delete {exchange}", lambda channel, name=exchange: channel.exchange_delete(name)
        yield (
            f"join {exchange}",
            lambda channel, name=exchange: channel.exchange_bind(name, "amq.direct", "#"),
        )
    yield "make an exchange", lambda channel: channel.exchange_declare("mine", "topic")
    for key in ("compute.h2.h2", "compute.h2", "compute.#", "#", "*.*.*", "compute.h7.#"):
        yield f"hear hints for {key}", bound("amq.topic", key)
    for key in ("conductor-api", "conductor-agent", "conductor-api.c1"):
        yield f"hear calls of {key}", bound("amq.direct", key)
    yield "hear traces", bound("amq.rabbitmq.trace", "#")
    for user in ("api", "c1", VICTIM, "guest"):
        yield f"claim to be {user}", published("amq.direct", "conductor-api", user_id=user)
    yield "send 17 MiB", published("amq.direct", "conductor-agent", text="x" * (17 << 20))
    for number, name in enumerate(("", "amq.topic", "mine")):
        letters = {"x-dead-letter-exchange": name}
        yield f"let letters die to {name!r}", declared(f"reply_h7:agent:{number}", **letters)


@pytest.fixture(scope="module")
def victims_queues(scene: Scene) -> Iterator[None]:
    """What other agents and APIs have at the broker, so that it is there to be stolen."""
    made = {"h2": ("compute.h2", "compute.h2.h2", "reply_h2:agent:1"), "api": ("reply_ctl:api:1",)}
    connections = []
    for user, queues in made.items():
        url = scene.broker.url(user).replace("rabbit://", "amqp://")
        connections.append(kombu.Connection(url))
        for queue in queues:
            connections[-1].default_channel.queue_delete(queue)  # others' may be of another kind
            connections[-1].default_channel.queue_declare(queue, exclusive=False)
    yield
    for connection, queues in zip(connections, made.values(), strict=True):
        for queue in queues:
            connection.default_channel.queue_delete(queue)
        connection.release()


@pytest.mark.usefixtures("victims_queues")
def test_the_broker_lets_a_host_reach_what_is_its_own_only(scene: Scene) -> None:
    before, refused = scene.snapshot(), scene.broker_log().count(REFUSED)
    through, count = [], 0
    with scene.connect() as connection:
        for name, attempt in tried():
            channel = connection.channel()
            try:
                attempt(channel)
            except (amqp.exceptions.AccessRefused, amqp.exceptions.PreconditionFailed):
                count += 1
            else:
                through.append(name)
    assert through == []
    eventually(
        lambda: scene.broker_log().count(REFUSED) >= refused + count,
        f"{count} refusals in the broker's log",
        SECONDS,
    )
    assert scene.snapshot() == before


def test_another_virtual_host_is_closed(scene: Scene) -> None:
    elsewhere = scene.connect().clone(virtual_host="other")
    with pytest.raises(amqp.exceptions.NotAllowed):
        elsewhere.connect()


# --- messages that are none, and letters of others that die into the conductor's queue

GARBAGE = [
    b"", b"\xff\xfe\x00", b"null", b"[]", b"{}", b'"text"', b"[" * 100_000,
    json.dumps({"oslo.version": "2.0", "oslo.message": "["}).encode(),
    json.dumps({"oslo.version": "2.0", "oslo.message": "[]"}).encode(),
    json.dumps({"oslo.version": "2.0", "oslo.message": "{}"}).encode(),
    json.dumps({"oslo.version": "9.9", "oslo.message": "{}"}).encode(),
    *(
        json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()
        for message in (
            {"method": "start"},
            {"method": ["start"], "args": {}},
            {"method": "start", "args": [1]},
            {"method": "_run", "args": {}},
            {"method": "__init__", "args": {}, "version": "1.0"},
            {"method": "hello", "args": {}, "version": "x" * 1000, "_unique_id": {}},
            {"method": "hello", "args": {"hello": {}}, "_context_auth_user": "h2",
             "_context_request_id": "x" * 10_000},
            {"method": "hello", "args": {}, "_msg_id": "1", "_reply_q": "compute.h2.h2"},
            {"result": "x", "failure": None, "_msg_id": "1", "ending": True},
        )
    ),
]  # fmt: skip


def test_conductors_live_through_messages_that_make_no_sense(scene: Scene) -> None:
    before = scene.snapshot()
    with scene.connect() as connection:
        for topic in ("conductor-agent", "conductor-api"):
            for body in GARBAGE:
                connection.default_channel.basic_publish(
                    amqp.Message(body, content_type="application/json", user_id=THIEF),
                    "amq.direct",
                    topic,
                )
    ping(scene)
    assert outcome(scene.caller("conductor-agent"), "pong", **LEGITIMATE["pong"](scene)) == []
    assert scene.snapshot() == before


def ping(scene: Scene) -> None:
    """An API's call, which any of the conductor's threads answers."""
    client = scene.api()
    catalog = CatalogClient(client.to(rpc.conductor_target("conductor-api")))
    for _ in range(20):
        assert catalog.ping(RequestContext())["database"]


def test_an_apis_hints_that_die_into_the_conductors_queue_do_nothing(scene: Scene) -> None:
    """The only messages that bear another's name and can be turned around: hints for this host."""
    dying = {
        "x-message-ttl": 0,
        "x-dead-letter-exchange": "amq.direct",
        "x-dead-letter-routing-key": "conductor-api",
    }
    before = scene.snapshot()
    with scene.connect() as connection:
        channel = connection.default_channel
        channel.queue_delete(MINE)
        channel.queue_declare(MINE, arguments=dying, auto_delete=False)
        channel.queue_bind(MINE, "amq.topic", MINE)
        agents = scene.api().to_agent(THIEF, "1.0")
        agents.cast(RequestContext(), "run", step_id=scene.work.step_id)
        agents.cast(RequestContext(), "query", query_id=scene.query)
        for method in ("run", "query"):
            unknown = f"method {method}"
            eventually(lambda text=unknown: scene.logged(text), unknown, SECONDS)  # type: ignore[misc]
        channel.queue_delete(MINE)
    ping(scene)
    assert scene.snapshot() == before


# --- revoked


LEGITIMATE: dict[str, Attempt] = {
    "hello": hello,
    "heartbeat": beat,
    "start": lambda s: {"steps": wire([s.ref(s.thief, s.work)])},
    "finish": lambda s: {"outcomes": wire([Outcome(step=s.ref(s.thief, s.work))])},
    "hand_back": lambda s: {"step": wire(s.ref(s.thief, s.work)), "recorded_epoch": s.thief.epoch},
    "progress": lambda s: {
        "progress": wire(Progress(step=s.ref(s.thief, s.work), done=90, total=99))
    },
    "report": lambda s: as_thief(s, seen=[seen(s, s.mine, Seen.PAUSED)]),
    "reconcile": lambda s: as_thief(s, found=s.thief.told()),
    "reconciled": lambda s: as_thief(s, removed=[]),
    "fetch_query": lambda s: as_thief(s, query_id=s.own_query),
    "answer": lambda s: as_thief(s, query_id=s.own_query, answer={"ok": {"output": "x"}}),
    "open_disk": lambda s: as_thief(s, ticket=s.moving.source.ticket),
    "pong": lambda s: as_thief(s, nonce="0.1"),
}  # fmt: skip


def test_a_revoked_host_is_refused_everything_until_it_is_added_again(scene: Scene) -> None:
    caller = scene.caller("conductor-agent")
    outcome(caller, "pong", **LEGITIMATE["pong"](scene))  # its connections are open
    with scene.connect() as connection:
        connection.connect()
        old = scene.url
        # The broker's user stays for now: the ledger alone has to refuse.
        assert scene.ledger.turns.run(lambda turn: hosts.revoke(turn, THIEF))
        _check_all_is_refused(scene, caller)
        _check_nothing_new_goes_there(scene)
        assert scene.manage("host", "revoke", THIEF) == 0
        with pytest.raises(connection.connection_errors) as ended:
            connection.drain_events(timeout=SECONDS)
        assert not isinstance(ended.value, TimeoutError)
    with pytest.raises(amqp.exceptions.AccessRefused):
        scene.connect().connect()
    assert outcome(caller, "pong", **LEGITIMATE["pong"](scene)) == ["BusUnavailable"]

    scene.url = scene.add_thief("second.conf")
    assert scene.url != old
    scene.thief.conductor = scene.agent_of(THIEF)
    assert scene.host(THIEF).state == "down"
    assert "reconcile" in scene.thief.beat().orders
    assert scene.host(THIEF).state == "reconciling"
    scene.thief.reconcile()
    assert scene.host(THIEF).state == "up"


def _check_all_is_refused(scene: Scene, caller: rpc.Caller) -> None:
    assert set(LEGITIMATE) == set(FOR_AGENTS)
    before = scene.snapshot()
    for method, attempt in LEGITIMATE.items():
        logged = len(scene.refused())
        assert outcome(caller, method, **attempt(scene)) == ["Forbidden"], method
        assert len(scene.refused()) == logged + 1, method
        assert "is revoked" in scene.refused()[-1]
    assert scene.snapshot() == before


def _check_nothing_new_goes_there(scene: Scene) -> None:
    row = scene.host(THIEF)
    assert (row.state, row.revoked, row.forced_down) == ("down", True, False)
    with pytest.raises(NoValidHost):
        scene.ledger.create(scene.ledger.admin, host=THIEF)
    assert isinstance(scene.ledger.ask(scene.mine, "pause", scene.ledger.admin), HostUnavailable)
