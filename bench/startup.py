"""From nothing running to the first boot."""

import time
from http.client import ACCEPTED, HTTPException

from bench.users import Answer, User
from bench.work import Work
from devstack.local import LocalCloud
from devstack.teardown import GRACE_SECONDS

LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 90.0
SERVERS = ("rabbitmq", "postgres", "mariadb", "epmd")
"""The roles that are no processes of Paddock."""


def measure_start(cloud: LocalCloud, work: Work, cold: bool) -> float:
    """Stop the cloud, start it again, boot a server.

    Broker, database and what is in them are prepared; the token is from before. All processes
    are started as soon as what they connect to listens.

    :param cold: broker and database are started too
    :return: seconds from the first start of a process until a server is active
    """
    _stop(cloud, cold)
    begun = time.monotonic()
    if cold:
        cloud.start_broker()
        cloud.database.start()
    cloud.control.start()
    for host in cloud.hosts:
        cloud.start_agent(host)
    server = _boot(work, begun + PATIENCE_SECONDS)
    took = time.monotonic() - begun
    work.reconnect()
    work.delete(server)
    return took


def _stop(cloud: LocalCloud, cold: bool) -> None:
    records = cloud.registry.records()
    own = [record for record in records if record.role not in SERVERS]
    cloud.registry.stop_all(own, GRACE_SECONDS)
    if cold:
        cloud.database.stop()
        cloud.broker.stop()


def _boot(work: Work, end: float) -> str:
    """Ask until there is a server, then until it is active.

    :raises TimeoutError: there is none at the end
    """
    user = User(work.account)
    while (answer := _try(user)) is None or answer.status != ACCEPTED:
        if time.monotonic() > end:
            said = answer.document if answer else "nothing"
            raise TimeoutError(f"no server could be made; the API said {said}")
        time.sleep(LOOK_SECONDS)
        user = user if answer else User(work.account)
    server: str = answer.document["server"]["id"]
    user.wait(server, LOOK_SECONDS)
    return server


def _try(user: User) -> Answer | None:
    try:
        return user.create()
    except (OSError, HTTPException):
        return None
