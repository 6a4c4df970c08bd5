"""One process of the floor: ``python -m bench.floor_process api|conductor|agent``.

The first line of its standard input says how it reaches broker and database; the API gets a line
for each batch of rounds that it is to post. At the end of its input it ends.
"""

import datetime
import json
import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from paddock import runtime

runtime.choose()

import oslo_messaging  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from oslo_config import cfg  # noqa: E402

from paddock.rpc import UNLISTED, expose  # noqa: E402

TOPIC = "floor"
CONDUCTOR_THREADS, AGENT_THREADS = 16, 8
TIMEOUT_SECONDS = 30
OPTIONS = {"rabbit_quorum_queue": True, "rabbit_qos_prefetch_count": 8}
"""As the cloud has them (paddock/rpc.py)."""

# What a pause's messages hold beside oslo.messaging's own fields, and its rows, in bytes.
ACCEPT, TICKET, RUN, START, ORDER, FINISH, FINISHED = 500, 230, 450, 330, 560, 380, 14
ROW = 600

ACCEPTED = sa.text(
    "INSERT INTO actions (id, verb, status, created_at, body) "
    "VALUES (:id, 'pause', 'accepted', :now, :body)"
)
STARTED = sa.text("UPDATE actions SET status = 'running' WHERE id = :id")
ENDED = sa.text("UPDATE actions SET status = 'succeeded', finished_at = :now WHERE id = :id")


class Conductor:
    """Answers each of a round's calls after one statement and its commit."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, pool_size=CONDUCTOR_THREADS, max_overflow=0)

    @expose
    def accept(self, _: Any, round_id: str, padding: str) -> str:
        """The round is there."""
        del padding
        self._commit(ACCEPTED, id=round_id, now=_now(), body="x" * ROW)
        return "x" * TICKET

    @expose
    def start(self, _: Any, round_id: str, padding: str) -> str:
        """The round runs."""
        del padding
        self._commit(STARTED, id=round_id)
        return "x" * ORDER

    @expose
    def finish(self, _: Any, round_id: str, padding: str) -> str:
        """The round has ended."""
        del padding
        self._commit(ENDED, id=round_id, now=_now())
        return "x" * FINISHED

    def _commit(self, statement: sa.TextClause, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(statement, values)


class Agent:
    """Starts and finishes the rounds that it is told of."""

    def __init__(self, conductor: Any) -> None:
        self._conductor = conductor

    @expose
    def run(self, _: Any, round_id: str, padding: str) -> None:
        """A round waits."""
        del padding
        self._conductor.call({}, "start", round_id=round_id, padding="x" * START)
        self._conductor.call({}, "finish", round_id=round_id, padding="x" * FINISH)


class Api:
    """Posts rounds."""

    def __init__(self, transport: Any, hosts: list[str]) -> None:
        self._conductor = _client(transport, TOPIC)
        self._agents = [_client(transport, f"{TOPIC}.{host}", host) for host in hosts]

    def post(self, rounds: int, concurrency: int) -> None:
        """So many rounds, so many at once."""
        with ThreadPoolExecutor(concurrency) as pool:
            list(pool.map(self._post, range(rounds)))

    def _post(self, number: int) -> None:
        round_id = str(uuid.uuid4())
        self._conductor.call({}, "accept", round_id=round_id, padding="x" * ACCEPT)
        agent = self._agents[number % len(self._agents)]
        agent.cast({}, "run", round_id=round_id, padding="x" * RUN)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def _client(transport: Any, topic: str, server: str | None = None) -> Any:
    return oslo_messaging.get_rpc_client(
        transport,
        oslo_messaging.Target(topic=topic, server=server),
        timeout=TIMEOUT_SECONDS,
        transport_options=oslo_messaging.TransportOptions(at_least_once=True),
    )


def _transport(url: str) -> Any:
    conf = cfg.ConfigOpts()
    for group, listed in UNLISTED:
        conf.register_opts(listed, group=group)
    transport = oslo_messaging.get_rpc_transport(conf, url)
    for name, value in OPTIONS.items():
        conf.set_override(name, value, group="oslo_messaging_rabbit")
    conf([], default_config_files=[], default_config_dirs=[])
    return transport


def _serve(transport: Any, topic: str, server: str, endpoint: object, threads: int) -> None:
    target = oslo_messaging.Target(topic=topic, server=server)
    served = oslo_messaging.get_rpc_server(transport, target, [endpoint])
    served.start(override_pool_size=threads)


def main() -> None:
    """Be one of the processes until the input ends."""
    role = sys.argv[1]
    settings = json.loads(sys.stdin.readline())
    transport = _transport(settings["broker"])
    if role == "conductor":
        endpoint = Conductor(settings["database"])
        _serve(transport, TOPIC, role, endpoint, CONDUCTOR_THREADS)
    elif role == "agent":
        host = settings["host"]
        agent = Agent(_client(transport, TOPIC))
        _serve(transport, f"{TOPIC}.{host}", host, agent, AGENT_THREADS)
    api = Api(transport, settings["hosts"])
    print("ready", flush=True)
    for line in sys.stdin:
        api.post(**json.loads(line))
        print("posted", flush=True)
    os._exit(0)  # the queues go with the broker, so nothing needs to be put in order


if __name__ == "__main__":
    main()
