"""The API process: builds its parts and runs them."""

from __future__ import annotations

from paddock import runtime

runtime.choose()  # before what follows is imported

import importlib.metadata  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import suppress  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

from oslo_config import cfg  # noqa: E402

from api.app import App, Collaborators, create_app  # noqa: E402
from api.client_address import ClientAddresses  # noqa: E402
from api.entrance import open_entrance  # noqa: E402
from api.http import HttpServer  # noqa: E402
from api.key_file import KeyFile  # noqa: E402
from api.tls import Certificate  # noqa: E402
from api.tokens import Tokens  # noqa: E402
from api.wishes import ATTEMPTS  # noqa: E402
from api.workers import run_workers  # noqa: E402
from paddock import rpc  # noqa: E402
from paddock.certificates import named, warn_of_end  # noqa: E402
from paddock.clients import AgentClients, CatalogClient, LedgerClient  # noqa: E402
from paddock.context import RequestContext  # noqa: E402
from paddock.errors import ServiceUnavailable  # noqa: E402
from paddock.process import run_prepared  # noqa: E402
from paddock.service import Part, Service, Timer, run_until_signal  # noqa: E402
from paddock.versions import FIRST, Cap  # noqa: E402

VERSION_SECONDS = 10.0
DAY_SECONDS = 86400.0


class ApiService(Service):
    """The API's parts.

    :ivar app: the WSGI application
    :ivar http: the server that serves it
    """

    def __init__(self, parts: list[Part], http: HttpServer, app: App) -> None:
        super().__init__("api", parts)
        self.app = app
        self.http = http


def build(
    conf: cfg.ConfigOpts,
    entrance: socket.socket | None = None,
    certificate: Certificate | None = None,
) -> ApiService:
    """The API as a service, not started.

    :param entrance: the socket to listen on, where it is open already
    :param certificate: the API's, where a process had it before
    :raises ValueError: the file of the tokens' keys, a trusted proxy or the certificate is not as
        it must be
    """
    tls = (certificate or Certificate(conf.api)).context()
    client = rpc.Client(rpc.transport(conf, "api"), conf.call_timeout, calls=conf.api.threads)
    cap = Cap()
    with_ = connect(conf, client, cap)
    app = create_app(with_)
    versions = Timer(lambda: ask_version(with_.catalog, cap), VERSION_SECONDS, "versions")
    ends = Timer(lambda: warn_of_end(named(conf)), DAY_SECONDS, "certificates")
    options = conf.api

    def enter() -> socket.socket:
        return entrance.dup() if entrance else open_entrance(options.listen, options.port)

    http = HttpServer(app, enter, options.threads, options.max_body, tls)
    return ApiService([client, versions, ends, http], http, app)


def ask_version(catalog: CatalogClient, cap: Cap) -> None:
    """Learn which RPC version all live conductors serve."""
    with suppress(ServiceUnavailable):  # the next round asks again
        cap.learn(catalog.ping(RequestContext()).get("rpc_version", FIRST))


def connect(conf: cfg.ConfigOpts, client: rpc.Client, cap: Cap) -> Collaborators:
    """What the application stands on, over a connected bus.

    :param cap: the newest RPC version that may be sent to the conductors
    """
    target = rpc.conductor_target("conductor-api")
    conductor = client.to(target, cap=cap)
    once = client.to(target, conf.call_timeout / ATTEMPTS, cap)
    keys = KeyFile(Path(conf.identity.key_file)).keys
    return Collaborators(
        ledger=LedgerClient(conductor),
        wishes=LedgerClient(once),
        catalog=CatalogClient(conductor),
        agents=AgentClients(client.to_agent),
        tokens=Tokens(keys, conf.identity.token_lifetime),
        secret=lambda: keys()[0].secret,
        clients=ClientAddresses(conf.api.trusted_proxies),
        region=conf.identity.region,
        public_url=conf.api.public_url,
        longest=conf.api.max_body,
        largest=conf.api.max_limit,
        patience=conf.api.query_timeout,
        release=importlib.metadata.version("paddock"),
        image_store=Path(conf.api.image_store),
    )


def prepare(conf: cfg.ConfigOpts) -> Callable[[], int]:
    """What runs the API until SIGTERM, in one process or in several.

    :raises OSError: the address is taken or not ours
    :raises ValueError: see :func:`build`
    """
    certificate = Certificate(conf.api)
    # What is wrong with the settings is said here, not by each worker.
    alone = build(conf, certificate=certificate)
    if conf.api.workers == 1:
        return partial(run_until_signal, alone)
    entrance = open_entrance(conf.api.listen, conf.api.port)
    return partial(run_workers, conf, partial(build, conf, entrance, certificate), conf.api.workers)


def main() -> int:
    """Run the API until SIGTERM."""
    return run_prepared("api", prepare)


if __name__ == "__main__":
    sys.exit(main())
