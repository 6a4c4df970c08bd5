"""Whether an action costs more the more there is: instances and hosts in the ledger.

    .venv/bin/python -m bench.scale [--json]

The conductor's own ledger in this process, on a PostgreSQL of its own and without a bus, is filled
with copies of one instance and with hosts; then single actions are timed, from the request's
decoding to the last commit. Each figure is the median of 40, in milliseconds, the processor's time
of this process in brackets (what the database server uses is in the first one only).
"""

import argparse
import contextlib
import ipaddress
import itertools
import json
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paddock import runtime

runtime.choose()

import sqlalchemy as sa  # noqa: E402

from conductor.agent_endpoint import AgentEndpoint  # noqa: E402
from conductor.db import models  # noqa: E402
from conductor.db.session import Database  # noqa: E402
from conductor.invariants import violations  # noqa: E402
from conductor.ledger_endpoint import LedgerEndpoint  # noqa: E402
from conductor.policy import Policy  # noqa: E402
from conductor.senders import Senders  # noqa: E402
from conductor.turn import Turns  # noqa: E402
from devstack.database import Postgres  # noqa: E402
from devstack.ports import free_ports  # noqa: E402
from paddock import config  # noqa: E402
from paddock.actions import Seen  # noqa: E402
from paddock.clients import ConductorClient, LedgerClient  # noqa: E402
from paddock.context import RequestContext  # noqa: E402
from paddock.dispatch import invoke  # noqa: E402
from paddock.records import (  # noqa: E402
    AcceptRequest,
    CreateRequest,
    Heartbeat,
    Hello,
    HostFacts,
    Listing,
    Outcome,
    Resources,
    StepRef,
    Ticket,
)

TIMES = 40
HOSTS, INSTANCES = 10, 1000
MORE_INSTANCES, MORE_HOSTS = (100, 1000, 10_000), (10, 100, 1000)
BATCH = 1000
USER, PROJECT = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
ADMIN = RequestContext(
    request_id="req-bench", user_id=USER, user_epoch=1, project_id=PROJECT, roles=("admin",)
)
UNLIMITED = {"quota_instances": -1, "quota_cores": -1, "quota_memory_mb": -1}
FACTS = HostFacts(
    resources=Resources(vcpus=1 << 16, memory_mb=1 << 26, disk_gb=1 << 20),
    capabilities=["pause", "suspend", "move"],
    version="1",
)
COPIED = (models.Instance, models.Claim, models.Action, models.Step, models.Port)
"""What is copied of an instance; there is nothing else of it."""
FIRST_COPY = ipaddress.ip_address("10.1.0.0")


class Straight:
    """A caller that calls the endpoint in this process, with JSON as the bus carries it."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def call(self, ctxt: RequestContext, method: str, **kwargs: Any) -> Any:
        """The method's answer."""
        context = ctxt.to_dict() | {"auth_user": None}
        return json.loads(
            json.dumps(
                invoke(self._endpoint, method, context, json.loads(json.dumps(kwargs))),
            )
        )


class Cloud:
    """A ledger with users, an image and a flavor, and hosts that do all that they are told.

    :param url: of an empty database
    """

    def __init__(self, url: str) -> None:
        conf = config.load(
            overrides={"DEFAULT": {"transport_url": "paddock://bench/"}, "conductor": UNLIMITED}
        )
        self.database = Database(url)
        models.Base.metadata.create_all(self.database.writer)
        turns, senders = Turns(self.database, conf, lambda _: None), Senders(conf)
        self.api = LedgerClient(Straight(LedgerEndpoint(turns, Policy(conf), senders)))
        self.agents = ConductorClient(Straight(AgentEndpoint(turns, senders)))
        self.epochs: dict[str, str] = {}
        self._numbers = itertools.count()
        self._image, self._network = str(uuid.uuid4()), str(uuid.uuid4())
        self._prepare()

    def _prepare(self) -> None:
        now = sa.func.localtimestamp()
        rows: dict[type[models.Base], dict[str, Any]] = {
            models.Cloud: {"one": 1, "id": str(uuid.uuid4())},
            models.User: {
                "id": USER, "name": "u", "password_hash": "", "enabled": True, "epoch": 1,
            },
            models.Project: {"id": PROJECT, "name": "p"},
            models.Flavor: {"id": "1", "name": "f", "vcpus": 1, "memory_mb": 128, "disk_gb": 1},
            models.Network: {
                "id": self._network, "name": "n", "cidr": "10.0.0.0/8", "first": "10.0.0.10",
                "last": "10.0.255.250",
            },
            models.Image: {
                "id": self._image, "name": "i", "visibility": "public", "status": "active",
                "disk_format": "raw", "container_format": "bare", "size": 1, "file": "i",
                "checksum": "0" * 64, "created_at": now, "updated_at": now,
            },
        }  # fmt: skip
        with self.database.writer.begin() as connection:
            for kind, values in rows.items():
                connection.execute(sa.insert(kind).values(**values))

    def add_hosts(self, count: int) -> None:
        """Have so many hosts."""
        for number in range(len(self.epochs), count):
            name, epoch = f"host-{number}", str(uuid.uuid4())
            self.agents.hello(
                Hello(host=name, epoch=epoch, replaces=None, machine_id=name, zone="z", facts=FACTS)
            )
            self.agents.reconcile(name, epoch, [])
            self.agents.reconciled(name, epoch, [])
            self.epochs[name] = epoch

    def boot(self) -> str:
        """An instance that runs; gives its id."""
        instance_id = str(uuid.uuid4())
        request = CreateRequest(
            action_ids=[str(uuid.uuid4())], instance_ids=[instance_id], min_count=1, name="vm",
            image_id=self._image, flavor_id="1", zone=None, host=None, networks="auto", metadata={},
        )  # fmt: skip
        (ticket,) = self.api.create(ADMIN, request)
        self._do(ticket, Seen.RUNNING)
        return instance_id

    def act(self, instance_id: str, verb: str, seen: Seen) -> None:
        """An action from its acceptance to its end."""
        request = AcceptRequest(
            action_id=str(uuid.uuid4()), instance_id=instance_id, verb=verb, params={},
            fingerprint="",
        )  # fmt: skip
        (answer,) = self.api.accept(ADMIN, [request])
        assert isinstance(answer, Ticket), answer
        self._do(answer, seen)

    def _do(self, ticket: Ticket, seen: Seen) -> None:
        host, step = str(ticket.host), str(ticket.step_id)
        ref = StepRef(step_id=step, attempt=1, host=host, epoch=self.epochs[host])
        (order,) = self.agents.start([ref])
        assert not isinstance(order, Exception), order
        (ended,) = self.agents.finish([Outcome(step=ref, seen=seen)])
        assert ended is True, ended

    def beat(self, host: str) -> None:
        """A host's heartbeat."""
        epoch = self.epochs[host]
        self.agents.heartbeat(Heartbeat(host=host, epoch=epoch, facts=FACTS, held=[]))

    def copy(self, model: str, count: int) -> None:
        """Have so many instances more, each with what the model has, on hosts at random."""
        with self.database.writer.begin() as connection:
            rows = {kind: _rows_of(connection, kind, model) for kind in COPIED}
            for first in range(0, count, BATCH):
                copies = [
                    _copied(rows, random.choice(list(self.epochs)), next(self._numbers))
                    for _ in range(min(BATCH, count - first))
                ]
                for kind in COPIED:
                    made = [row for one in copies for row in one[kind]]
                    connection.execute(sa.insert(kind), made)
            _count_claims(connection)
        with self.database.writer.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(
                sa.text("VACUUM ANALYZE")
            )


def _rows_of(
    connection: sa.Connection, kind: type[models.Base], model: str
) -> list[dict[str, Any]]:
    table = kind.__table__
    key = table.c.id if kind is models.Instance else table.c.instance_id
    return [
        dict(row) for row in connection.execute(sa.select(table).where(key == model)).mappings()
    ]


def _copied(
    rows: dict[type[models.Base], list[dict[str, Any]]], host: str, number: int
) -> dict[type[models.Base], list[dict[str, Any]]]:
    """The same rows with ids of their own; what was the same id is again the same."""
    ids: dict[str, str] = {}
    own = {"address": str(FIRST_COPY + number), "mac": f"{number:012x}"}

    def anew(name: str, value: Any) -> Any:
        if name in own:
            return own[name]
        if name in ("host", "disk_host"):
            return value and host
        if value and name in ("id", "instance_id", "action_id", "last_action"):
            return ids.setdefault(value, str(uuid.uuid4()))
        return value

    return {
        kind: [{name: anew(name, value) for name, value in row.items()} for row in its]
        for kind, its in rows.items()
    }


def _count_claims(connection: sa.Connection) -> None:
    """The hosts' and the project's counters are what their rows say."""
    claim, host = models.Claim, models.Host
    sums = {
        f"claimed_{name}": sa.select(sa.func.coalesce(sa.func.sum(getattr(claim, name)), 0))
        .where(claim.host == host.name)
        .scalar_subquery()
        for name in ("vcpus", "memory_mb", "disk_gb")
    }
    connection.execute(sa.update(host).values(**sums))
    instance, project = models.Instance, models.Project
    used = {
        "used_instances": sa.func.count(),
        "used_cores": sa.func.coalesce(sa.func.sum(instance.vcpus), 0),
        "used_memory_mb": sa.func.coalesce(sa.func.sum(instance.memory_mb), 0),
    }
    counted = {
        name: sa.select(value).select_from(instance).scalar_subquery()
        for name, value in used.items()
    }
    connection.execute(sa.update(project).values(**counted))


def measure(cloud: Cloud) -> dict[str, tuple[float, float]]:
    """Name → milliseconds and those of this process's processor."""
    mine, hosts = cloud.boot(), list(cloud.epochs)
    pausing = iter([("pause", Seen.PAUSED), ("unpause", Seen.RUNNING)] * TIMES)
    page = Listing(limit=50)
    timed: dict[str, Callable[[], object]] = {
        "pause": lambda: cloud.act(mine, *next(pausing)),
        "boot": cloud.boot,
        "show": lambda: cloud.api.get_instance(ADMIN, mine),
        "list of 50": lambda: cloud.api.list_instances(ADMIN, page),
        "heartbeat": lambda: cloud.beat(random.choice(hosts)),
    }
    return {name: _time(function) for name, function in timed.items()}


def _time(function: Callable[[], object]) -> tuple[float, float]:
    took, used = [], []
    for _ in range(TIMES):
        begun, cpu = time.perf_counter(), time.thread_time()
        function()
        took.append(1000 * (time.perf_counter() - begun))
        used.append(1000 * (time.thread_time() - cpu))
    return round(statistics.median(took), 2), round(statistics.median(used), 2)


@contextmanager
def clouds() -> Iterator[Callable[[], Cloud]]:
    """Makes ledgers on one database server."""
    with tempfile.TemporaryDirectory(prefix="paddock-bench-") as directory:
        Path(directory).chmod(0o755)
        server = Postgres(Path(directory) / "postgresql", "127.0.0.1", free_ports(1))
        server.start()
        made: list[Cloud] = []

        def make() -> Cloud:
            name = f"scale{len(made)}"
            server.create_database(name)
            made.append(Cloud(server.url(name)))
            return made[-1]

        with contextlib.ExitStack() as stack:
            stack.callback(server.stop)
            stack.callback(lambda: [cloud.database.dispose() for cloud in made])
            yield make


def grow(
    make: Callable[[], Cloud], sizes: Sequence[tuple[int, int]]
) -> Iterator[dict[str, tuple[float, float]]]:
    """The figures of one ledger as it grows.

    :param sizes: instances and hosts, ascending
    """
    cloud, there = make(), 1
    cloud.add_hosts(sizes[0][1])
    model = cloud.boot()
    for instances, hosts in sizes:
        cloud.add_hosts(hosts)
        cloud.copy(model, instances - there)
        yield measure(cloud)
        if wrong := cloud.database.read(violations):
            raise RuntimeError(f"the ledger is not well: {wrong[:3]}")
        there = instances + (TIMES + 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    wanted = parser.parse_args()
    sizes = {
        "instances": [(many, HOSTS) for many in MORE_INSTANCES],
        "hosts": [(INSTANCES, many) for many in MORE_HOSTS],
    }
    found: dict[str, dict[str, Any]] = {}
    with clouds() as make:
        for what, steps in sizes.items():
            found[what] = {}
            for (instances, hosts), figures in zip(steps, grow(make, steps), strict=True):
                name = f"{instances} instances, {hosts} hosts"
                found[what][name] = figures
                if not wanted.json:
                    said = [f"{key} {ms} ({cpu})" for key, (ms, cpu) in figures.items()]
                    print(f"{name}: {', '.join(said)}", flush=True)
    if wanted.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
