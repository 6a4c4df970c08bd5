"""What ``paddock-manage`` does: each command gets configuration and arguments, and exits so."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oslo_config import cfg
from tabulate import tabulate

from conductor import bootstrap, expiry, hosts, samples
from conductor.checkup import Checkup
from conductor.db import schema
from conductor.db.engine import sqlite_file
from conductor.db.session import Database
from conductor.image_store import ImageStore, Stored
from conductor.passwords import Passwords
from conductor.turn import Turn, Turns
from conductor.users_file import read_password, read_users
from paddock.certificates import named
from paddock.errors import BadRequest
from paddock.records import HostRecord, Listing

Command = Callable[[cfg.ConfigOpts, argparse.Namespace], int]
Topics = Any
"""What argparse's ``add_subparsers`` gives; its class is private."""


def upgrade(conf: cfg.ConfigOpts, _arguments: argparse.Namespace) -> int:
    """Bring the schema to this release's."""
    schema.upgrade(conf.database.connection)
    _say(f"The schema is at revision {schema.head()}.")
    return 0


def fill(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Fill a new cloud's database."""
    accounts = read_users(Path(arguments.users_file))
    subnet = _subnet(arguments)
    with open_ledger(conf) as turns:
        turns.run(
            lambda turn: turn.attempt(
                lambda: bootstrap.bootstrap(turn, Passwords(), accounts, subnet)
            )
        )
    _say(f"The cloud has {len(accounts)} users of this file, flavors and a network.")
    return 0


def _subnet(arguments: argparse.Namespace) -> bootstrap.Subnet | None:
    rest = [arguments.network_gateway, arguments.network_first, arguments.network_last]
    if arguments.network_cidr is None:
        if any(rest):
            raise BadRequest("--network-gateway, -first and -last need --network-cidr.")
        return None
    return bootstrap.plan_subnet(arguments.network_cidr, *rest)


def add_user(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Add a user with a role, or a role or a new password to one.

    :raises NotFound: there is no such project, and ``--create-project`` is not given
    """
    password = read_password(arguments.password_file)
    account = bootstrap.Account(arguments.name, arguments.project, arguments.role, password)

    def add(turn: Turn) -> None:
        bootstrap.ensure_account(turn, Passwords(), account, arguments.create_project)

    with open_ledger(conf) as turns:
        turns.run(lambda turn: turn.attempt(lambda: add(turn)))
    _say(f"{account.name} is {account.role} in {account.project}.")
    return 0


def set_password(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Give a user a new password, which ends all of their tokens.

    :raises NotFound: there is no such user
    """
    password_hash = Passwords().hash(read_password(arguments.password_file))
    return _change_user(conf, arguments.name, "has a new password", password_hash=password_hash)


def disable_user(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Let a user in no more, and end all of their tokens; NotFound."""
    return _change_user(conf, arguments.name, "is disabled", enabled=False)


def enable_user(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Let a user in again, with new tokens; NotFound."""
    return _change_user(conf, arguments.name, "is enabled", enabled=True)


def _change_user(conf: cfg.ConfigOpts, name: str, done: str, **values: object) -> int:
    with open_ledger(conf) as turns:
        turns.run(lambda turn: bootstrap.change_user(turn, name, **values))
    _say(f"{name} {done}; earlier tokens have ended.")
    return 0


def add_image(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Take an image into the store and list it."""
    if arguments.kernel is None and (arguments.ramdisk or arguments.command_line):
        raise BadRequest("--ramdisk and --command-line need --kernel.")
    with open_ledger(conf) as turns:
        store = ImageStore(Path(arguments.store or conf.compute.image_store))
        disk = store.put(Path(arguments.file), arguments.format)
        kernel = store.put(Path(arguments.kernel), "aki") if arguments.kernel else None
        ramdisk = store.put(Path(arguments.ramdisk), "ari") if arguments.ramdisk else None

        def add(turn: Turn) -> str:
            boot = _boot(turn, arguments, kernel, ramdisk)
            new = bootstrap.NewImage(arguments.name, arguments.format, disk, boot)
            return bootstrap.ensure_image(turn, new)

        key = turns.run(lambda turn: turn.attempt(lambda: add(turn)))
    _say(f"Image {arguments.name} is {key}.")
    return 0


def _boot(
    turn: Turn, arguments: argparse.Namespace, kernel: Stored | None, ramdisk: Stored | None
) -> dict[str, str]:
    if kernel is None:
        return {}
    return bootstrap.ensure_direct_boot(
        turn, arguments.name, kernel, ramdisk, arguments.command_line
    )


def list_services(conf: cfg.ConfigOpts, _arguments: argparse.Namespace) -> int:
    """Show hosts and conductors."""
    with open_ledger(conf) as turns:
        found = turns.read(_services)
    heads = ["host", "binary", "zone", "state", "open", "age", "version", "rpc", "certificates",
             "id"]  # fmt: skip
    _say(tabulate([_row(record) for record in found], headers=heads))
    if end := expiry.end_here(named(conf)):
        _say(f"\nCertificates that this configuration names: the first ends on {end:%Y-%m-%d}.")
    return 0


def _services(turn: Turn) -> list[HostRecord]:
    return hosts.list_page(turn, Listing())


def _row(record: HostRecord) -> list[str]:
    facts = {"revoked": record.revoked, "disabled": record.disabled, "paused": record.pauses}
    closed = [name for name, holds in facts.items() if holds]
    age = "" if record.age is None else f"{record.age:.0f} s"
    return [
        record.host,
        record.binary,
        record.zone,
        record.state,
        ", ".join(closed) or "yes",
        age,
        record.version,
        record.rpc_version,
        f"to {end:%Y-%m-%d}" if (end := expiry.end_of(record)) else "",
        record.id,
    ]


def check(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Check ledger and hosts; 1 when something is wrong, also when it was repaired."""
    with _database(conf) as database:
        turns = Turns(database, conf, lambda _: None)
        checkup = Checkup(database, turns, arguments.wait)
        found = [*checkup.look(), *_ending(conf, turns, arguments.days)]
        done = checkup.repair() if found and arguments.repair else []
    for sentence in [*found, *done]:
        _say(sentence)
    _say(f"{len(found)} violations." if found else "All invariants hold.")
    return 1 if found else 0


def _ending(conf: cfg.ConfigOpts, turns: Turns, days: float) -> list[str]:
    """What ends soon of the certificates of hosts, of conductors, and of this configuration."""
    now, found = turns.read(lambda turn: (turn.now, _services(turn)))
    ends = [(f"{one.binary} on {one.host}", expiry.end_of(one)) for one in found]
    here = ("this configuration", expiry.end_here(named(conf)))
    return expiry.warnings([*ends, here], now, days)


def config_sample(_conf: cfg.ConfigOpts, _arguments: argparse.Namespace) -> int:
    """Print the configuration file with all defaults."""
    sys.stdout.write(samples.render_configuration())
    return 0


def policy_sample(_conf: cfg.ConfigOpts, _arguments: argparse.Namespace) -> int:
    """Print the policy file with all defaults."""
    sys.stdout.write(samples.render_policy())
    return 0


@contextmanager
def _database(conf: cfg.ConfigOpts) -> Iterator[Database]:
    file = sqlite_file(conf.database.connection)
    if file is not None and not file.exists():
        raise schema.SchemaOutdated(
            f"There is no database {file}: name a conductor's --config-file, "
            "or run 'paddock-manage db upgrade' to make it."
        )
    database = Database(conf.database.connection, 2, conf.database.timeout)
    try:
        database.read(lambda session: schema.check(session.connection()))
        yield database
    finally:
        database.dispose()


@contextmanager
def open_ledger(conf: cfg.ConfigOpts) -> Iterator[Turns]:
    """The ledger of a conductor's configuration; SchemaOutdated when it is not this release's."""
    with _database(conf) as database:
        yield Turns(database, conf, lambda _: None)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
