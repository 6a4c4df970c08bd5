"""paddock-conductor: owns the database, hears the hosts, routes work."""

from __future__ import annotations

from paddock import runtime

runtime.choose()  # before what follows is imported

import sys  # noqa: E402
import time  # noqa: E402

from oslo_config import cfg  # noqa: E402

from conductor.agent_endpoint import AgentEndpoint  # noqa: E402
from conductor.catalog_endpoint import CatalogEndpoint  # noqa: E402
from conductor.db import schema  # noqa: E402
from conductor.db.session import Database  # noqa: E402
from conductor.drainer import Drainer  # noqa: E402
from conductor.identity import Identities  # noqa: E402
from conductor.judgement import PROBES_PER_DEAD_TIME, Proof  # noqa: E402
from conductor.ledger_endpoint import LedgerEndpoint  # noqa: E402
from conductor.passwords import Passwords  # noqa: E402
from conductor.pings import Pinger  # noqa: E402
from conductor.policy import Policy  # noqa: E402
from conductor.presence import Presence  # noqa: E402
from conductor.reaper import Reaper  # noqa: E402
from conductor.senders import Senders  # noqa: E402
from conductor.turn import Hint, Turns  # noqa: E402
from paddock import rpc  # noqa: E402
from paddock.certificates import named  # noqa: E402
from paddock.clients import AgentClients, CatalogClient  # noqa: E402
from paddock.context import RequestContext  # noqa: E402
from paddock.errors import PaddockError  # noqa: E402
from paddock.process import run  # noqa: E402
from paddock.service import Closing, Service, Timer  # noqa: E402

TOPIC_API = "conductor-api"
TOPIC_AGENT = "conductor-agent"


class Agents:
    """The hosts' agents, towards which the conductor casts."""

    def __init__(self, client: rpc.Client) -> None:
        self._to = AgentClients(client.to_agent)

    def hint(self, hint: Hint) -> None:
        """A step waits on a host."""
        ctxt = RequestContext()
        agent = self._to(hint.host, hint.rpc_version)
        agent.run(ctxt, hint.step_id, hint.instance_id, hint.kind, hint.attempt)

    def ping(self, host: str, nonce: str) -> None:
        """Prove the way to a host's agent."""
        self._to(host).ping(RequestContext(), nonce)


def build(conf: cfg.ConfigOpts, name: str, transport: rpc.Transport | None = None) -> Service:
    """A conductor as a service, not started.

    :param name: unique among the conductors; the server's name on the bus
    :param transport: by default one to the configuration's ``transport_url``
    :raises SchemaOutdated: the database's schema is older than this release
    :raises DatabaseUnavailable: the database does not answer
    :raises Conflict: conductors of another major RPC version live
    """
    database = open_database(conf)
    transport = transport or rpc.transport(conf, "conductor")
    client = rpc.Client(transport, conf.call_timeout)
    agents = Agents(client)
    turns = Turns(database, conf, agents.hint)
    reaper = Reaper(turns, make_proof(conf, client, name), Pinger(turns, agents.ping))
    drainer = Drainer(turns, conf.conductor.reaper_interval)
    presence = Presence(turns, conf.host, name, certificates=named(conf))
    presence.refuse_strangers()
    timers = [
        Timer(presence.note, conf.conductor.heartbeat_interval, "presence"),
        Timer(reaper.round, conf.conductor.reaper_interval, "reaper", at_once=False),
        Timer(drainer.round, conf.conductor.reaper_interval, "drainer", at_once=False),
    ]
    servers = make_servers(conf, turns, transport, name, presence)
    return Service(f"conductor {name}", [Closing(database.dispose), client, *timers, *servers])


def open_database(conf: cfg.ConfigOpts) -> Database:
    """The database, if this release can use it; see :func:`build` for what is raised."""
    options = conf.database
    database = Database(options.connection, options.pool_size, options.timeout)
    database.read(lambda session: schema.check(session.connection()))
    return database


def make_servers(
    conf: cfg.ConfigOpts, turns: Turns, transport: rpc.Transport, name: str, presence: Presence
) -> list[rpc.Server]:
    """What answers agents and the API, each at a topic of its own."""
    policy, senders = Policy(conf), Senders(conf)
    identities = Identities(turns, Passwords())
    served: dict[str, list[object]] = {
        TOPIC_AGENT: [AgentEndpoint(turns, senders, presence.lowest)],
        TOPIC_API: [
            LedgerEndpoint(turns, policy, senders),
            CatalogEndpoint(turns, policy, senders, identities, presence.lowest),
        ],
    }
    workers = conf.conductor.threads
    return [
        rpc.Server(transport, rpc.conductor_target(topic, name), endpoints, workers)
        for topic, endpoints in served.items()
    ]


def make_proof(conf: cfg.ConfigOpts, client: rpc.Client, name: str) -> Proof:
    """The proof of this conductor's own path: calls to itself through broker and database."""
    needed = conf.conductor.dead_after
    patience = min(conf.call_timeout, needed / PROBES_PER_DEAD_TIME)
    myself = CatalogClient(client.to(rpc.conductor_target(TOPIC_API, name), patience))

    def probe() -> bool:
        try:
            return bool(myself.ping(RequestContext()).get("database"))
        except PaddockError:
            return False

    return Proof(probe, time.monotonic, needed)


def main() -> int:
    """Run the conductor until SIGTERM."""
    return run("conductor", lambda conf: build(conf, conf.host))


if __name__ == "__main__":
    sys.exit(main())
