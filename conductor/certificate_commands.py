"""``paddock-manage certs``: a private CA and the certificates of the cloud's channels.

Nothing else depends on its directory: every option that needs a certificate takes files.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from oslo_config import cfg
from tabulate import tabulate

from conductor.certificates import CA_FILE, CERTIFICATE, KEY, Authority
from conductor.revocations import LIST


def make_ca(_conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Make a private CA; Conflict when there is one."""
    Authority(Path(arguments.directory)).make(arguments.days)
    _say(f"{arguments.directory} holds a CA; whoever has its key can be any part of the cloud.")
    return 0


def issue(_conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Make a key and a certificate; see :meth:`conductor.certificates.Authority.issue`."""
    authority = Authority(Path(arguments.directory))
    made = authority.issue(arguments.name, arguments.role, arguments.address, arguments.days)
    _say(f"{made} holds {CERTIFICATE}, {KEY} and {CA_FILE} for {arguments.days} days.")
    return 0


def revoke(_conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Take certificates back; see :meth:`conductor.certificates.Authority.revoke`."""
    directory = Path(arguments.directory)
    count = Authority(directory).revoke(arguments.name, arguments.role)
    _say(f"{directory / LIST} names {count} certificates: bring it to each host's pki_path.")
    return 0


def list_certificates(_conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Show names, roles and when they end."""
    now = datetime.datetime.now(datetime.UTC)
    rows = [
        [one.name, one.role, f"{one.ends:%Y-%m-%d}", (one.ends - now).days]
        for one in Authority(Path(arguments.directory)).issued()
    ]
    _say(tabulate(rows, headers=["name", "role", "ends", "days"]))
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
