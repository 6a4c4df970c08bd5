"""``paddock-manage host``: gives a compute host its credentials, and cuts a stolen one off."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from oslo_config import cfg, types

from conductor import hosts
from conductor.broker_control import BrokerControl
from conductor.broker_users import User, agent_rights, describe, hash_password
from conductor.commands import open_ledger
from conductor.senders import is_api
from paddock.errors import BadRequest, Conflict, NotFound, ServiceUnavailable

PASSWORD_BYTES = 24
LIMITS = {"max-connections": 100, "max-channels": 200}
"""Of the broker: an agent has a few dozen of either at most."""

_URL = re.compile(r"rabbit://(?P<brokers>[^/?]+)(/(?P<vhost>[^?]*))?(\?.*)?")
_ADDRESS = re.compile(r"([0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def add_host(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Give a host's agent a broker user with a new password; a revoked host is taken in again.

    :raises BadRequest: an agent cannot have that name, or no broker is named
    :raises Conflict: the broker's user of that name is not an agent's
    :raises ServiceUnavailable: the broker's command cannot be run or fails
    """
    name = check_name(arguments.name)
    own, vhost = _read_url(str(conf.transport_url))
    brokers = _check_addresses(arguments.broker_address or own)
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    users = {name: User(agent_rights(name), hash_password(password), LIMITS)}
    output = Path(arguments.output)
    with open_ledger(conf) as turns:
        known = turns.read(lambda turn: hosts.is_known(turn, name))
        _write(output, _configuration(name, password, brokers, vhost))
        try:
            if arguments.definitions:
                sys.stdout.write(json.dumps(describe(users, vhost), indent=1) + "\n")
            else:
                known |= _renew(BrokerControl(conf.conductor.broker_control, vhost), users, known)
        except BaseException:
            output.unlink()
            raise
        admitted = turns.run(lambda turn: hosts.admit(turn, name))
    people = sys.stderr if arguments.definitions else sys.stdout
    what = "a new password" if known else "a broker user"
    people.write(f"Host {name} has {what}: {output} is for its /etc/paddock/compute.conf.\n")
    if admitted:
        people.write("It is no longer revoked, and will reconcile before it gets work.\n")
    return 0


def _renew(control: BrokerControl, users: dict[str, User], known: bool) -> bool:
    """Give the broker the user; whether it had one, whose connections are ended."""
    (name,) = users
    had = control.has(name)
    if had and not known and not control.is_agents(name):
        raise Conflict(f"The broker's user {name} is not an agent's: choose another name.")
    control.put(users)
    if had:
        control.disconnect(name)
    return had


def revoke_host(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Cut a host off: conductors refuse its agent and count it as dead, its broker user goes.

    :raises NotFound: no such host is known; an agent's user of that name is deleted all the same
    :raises ServiceUnavailable: the broker's command cannot be run or fails; a host that is known
        is revoked all the same
    """
    name = check_name(arguments.name)
    _, vhost = _read_url(str(conf.transport_url))
    control = BrokerControl(conf.conductor.broker_control, vhost)
    with open_ledger(conf) as turns:
        known = turns.run(lambda turn: hosts.revoke(turn, name))
    try:
        had = control.has(name) and (known or control.is_agents(name))
        if had:
            control.remove(name)
    except ServiceUnavailable as error:
        done = f"Host {name} is revoked" if known else f"There is no host {name!r}"
        raise ServiceUnavailable(
            f"{done}, but the broker may still have its user, to be deleted there "
            f"(rabbitmqctl delete_user {name}): {error}"
        ) from None
    gone = "its broker user is deleted" if had else "the broker has no agent's user of that name"
    if not known:
        raise NotFound(f"There is no host {name!r}; {gone}.")
    sys.stdout.write(
        f"Host {name} is revoked, and {gone}.\n"
        "Guests may still run there: when it is surely off, say that it is forced_down.\n"
    )
    return 0


def check_name(name: str) -> str:
    """The name, if an agent can have it.

    :raises BadRequest: it is no host name, or one of a broker user that is not an agent's
    """
    try:
        types.Hostname()(name)
        right = name.isprintable()  # it lets a last newline pass
    except ValueError:
        right = False
    if not right:
        raise BadRequest(f"{name[:255]!r} is not a host name.")
    if is_api(name) or name.startswith("conductor-"):
        raise BadRequest(f"{name!r} is a name for an API or a conductor, and not for an agent.")
    return name


def _read_url(url: str) -> tuple[list[str], str]:
    """The brokers' addresses and the virtual host in a conductor's ``transport_url``."""
    found = _URL.fullmatch(url)
    if found is None:
        return [], "/"
    brokers = [one.rpartition("@")[2] for one in found["brokers"].split(",")]
    return brokers, unquote(found["vhost"] or "") or "/"


def _check_addresses(addresses: list[str]) -> list[str]:
    if not addresses or not all(_ADDRESS.fullmatch(one) for one in addresses):
        raise BadRequest("--broker-address: name the broker as the host reaches it, as HOST:PORT.")
    return addresses


def _configuration(name: str, password: str, brokers: Sequence[str], vhost: str) -> str:
    users = [f"{name}:{password}@{broker}" for broker in brokers]
    path = "" if vhost == "/" else quote(vhost, safe="")
    return f"[DEFAULT]\nhost = {name}\ntransport_url = rabbit://{','.join(users)}/{path}\n"


def _write(path: Path, text: str) -> None:
    """A new file of mode 0600; FileExistsError when there is one."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
