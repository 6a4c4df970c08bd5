"""paddock-manage: prepares and looks after a cloud's database, on a conductor's host."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from oslo_config import cfg
from sqlalchemy.exc import SQLAlchemyError

from conductor import certificate_commands, commands, host_commands, key_commands
from conductor.certificates import CA_DAYS, DAYS, ROLES
from paddock import config
from paddock.certificates import SOON_DAYS
from paddock.errors import PaddockError

REFUSED = 2


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="paddock-manage", description=__doc__)
    parser.add_argument("--config-file", action="append", default=[], metavar="FILE",
                        help="a conductor's configuration; can be repeated")  # fmt: skip
    topics = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_db(topics)
    _add_bootstrap(topics)
    _add_image(topics)
    _add_user(topics)
    _add_key(topics)
    _add_host(topics)
    _add_certs(topics)
    service = _topic(topics, "service", "services")
    _command(service, "list", "show hosts and conductors", commands.list_services)
    _add_check(topics)
    for name in ("config", "policy"):
        topic = _topic(topics, name, f"the {name} file")
        _command(topic, "sample", "print it with all defaults", getattr(commands, f"{name}_sample"))
    return parser


def _add_check(topics: commands.Topics) -> None:
    check = _command(
        topics, "check", "check the ledger, and hosts against it; exit 1 if something is wrong",
        commands.check,
    )  # fmt: skip
    check.add_argument("--repair", action="store_true",
                       help="count claims anew, and let hosts that differ reconcile")  # fmt: skip
    check.add_argument("--wait", type=float, default=10.0, metavar="SECONDS",
                       help="for the hosts to answer (10); 0 asks the ledger only")  # fmt: skip
    check.add_argument("--days", type=float, default=SOON_DAYS, metavar="DAYS",
                       help=f"warn of certificates that end so soon ({SOON_DAYS})")  # fmt: skip


def _add_db(topics: commands.Topics) -> None:
    db = _topic(topics, "db", "the schema")
    _command(db, "upgrade", "bring the schema to this release's", commands.upgrade)


def _add_bootstrap(topics: commands.Topics) -> None:
    parser = _command(
        topics, "bootstrap", "fill a new cloud: users, flavors, network", commands.fill
    )
    parser.add_argument("--users-file", required=True, metavar="FILE",
                        help="YAML, 0600: users, with name, project, role, password")  # fmt: skip
    for name, what in (
        ("cidr", "the default network's addresses (10.20.0.0/16)"),
        ("gateway", "its router, as guests are told; none if left out"),
        ("first", "the first address for guests"),
        ("last", "the last address for guests"),
    ):
        parser.add_argument(f"--network-{name}", metavar="ADDRESS", help=what)


def _add_image(topics: commands.Topics) -> None:
    image = _topic(topics, "image", "images")
    add = _command(image, "add", "take an image into the store and list it", commands.add_image)
    add.add_argument("--name", required=True)
    add.add_argument("--file", required=True)
    add.add_argument("--format", required=True, choices=("raw", "qcow2"))
    add.add_argument("--kernel", metavar="FILE", help="boot this kernel directly")
    add.add_argument("--ramdisk", metavar="FILE", help="with --kernel")
    add.add_argument("--command-line", default="", metavar="TEXT", help="the kernel's")
    add.add_argument("--store", metavar="DIRECTORY", help="by default [compute] image_store")


def _add_user(topics: commands.Topics) -> None:
    user = _topic(topics, "user", "users")
    add = _command(user, "add", "add a user, or a role or password to one", commands.add_user)
    add.add_argument("name")
    add.add_argument("--project", required=True)
    add.add_argument("--create-project", action="store_true", help="make it if it is not there")
    add.add_argument("--role", required=True)
    _add_password(add)
    password = _command(
        user, "password", "give a user a new password; ends their tokens", commands.set_password
    )
    password.add_argument("name")
    _add_password(password)
    for name, text, run in (
        ("disable", "let a user in no more; ends their tokens", commands.disable_user),
        ("enable", "let a user in again", commands.enable_user),
    ):
        _command(user, name, text, run).add_argument("name")


def _add_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--password-file", required=True, metavar="FILE",
                        help="mode 0600, or - for standard input")  # fmt: skip


def _add_key(topics: commands.Topics) -> None:
    key = _topic(topics, "key", "the keys that sign tokens ([identity] key_file)")
    _command(key, "list", "show their names", key_commands.list_keys)
    _command(key, "add", "add one that only verifies, yet", key_commands.add_key)
    _command(key, "use", "let the one that was added last sign", key_commands.use_key)
    _command(key, "drop", "forget those that only verify", key_commands.drop_keys)


def _add_certs(topics: commands.Topics) -> None:
    certs = _topic(topics, "certs", "a private CA and the certificates of all channels")
    made = _command(certs, "ca", "make a private CA", certificate_commands.make_ca)
    issue = _command(
        certs, "issue", "make a key and a certificate, anew if need be", certificate_commands.issue
    )
    revoke = _command(
        certs, "revoke", "take a stolen host's certificates back", certificate_commands.revoke
    )
    listed = _command(certs, "list", "show what was issued", certificate_commands.list_certificates)
    for one in (made, issue, revoke, listed):
        one.add_argument("directory", metavar="DIRECTORY", help="holds the CA")
    for one in (issue, revoke):
        one.add_argument("name", metavar="NAME", help="the machine's, as clients call it")
        one.add_argument("--role", required=True, choices=ROLES)
    issue.add_argument("--address", action="append", default=[],
                       help="another name or IP address of it; can be repeated")  # fmt: skip
    for one, days in ((made, CA_DAYS), (issue, DAYS)):
        one.add_argument("--days", type=int, default=days, help=f"until it ends ({days})")


def _add_host(topics: commands.Topics) -> None:
    host = _topic(topics, "host", "the credentials of compute hosts")
    add = _command(
        host, "add", "make a host's broker user and its agent's configuration, or renew them",
        host_commands.add_host,
    )  # fmt: skip
    add.add_argument("name", help="the host's name in the cloud")
    add.add_argument("--output", required=True, metavar="FILE",
                     help="for the agent's configuration; must not be there yet")  # fmt: skip
    add.add_argument("--broker-address", action="append", default=[], metavar="HOST:PORT",
                     help="as the host reaches the broker, by default as in this transport_url; "
                          "can be repeated")  # fmt: skip
    add.add_argument("--definitions", action="store_true",
                     help="print the user for 'rabbitmqctl import_definitions' elsewhere, and "
                          "leave the broker alone")  # fmt: skip
    revoke = _command(
        host, "revoke", "cut a stolen host off; its guests may run on", host_commands.revoke_host
    )
    revoke.add_argument("name")


def _topic(topics: commands.Topics, name: str, text: str) -> commands.Topics:
    return topics.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")


def _command(
    topics: commands.Topics, name: str, text: str, run: commands.Command
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = topics.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :returns: exit status: 0, 1 when ``check`` found something, 2 when refused
    """
    arguments = make_parser().parse_args(argv)
    try:
        conf = config.load(files=arguments.config_file)
        status: int = arguments.run(conf, arguments)
    except (PaddockError, ValueError, OSError, cfg.Error, SQLAlchemyError) as error:
        sys.stderr.write(f"paddock-manage: {_say(error)}\n")
        return REFUSED
    return status


def _say(error: Exception) -> str:
    """One line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
