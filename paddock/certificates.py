"""What is read of certificates: when those end that a process's configuration names."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from oslo_config import cfg

if TYPE_CHECKING:
    from cryptography import x509

LOG = logging.getLogger(__name__)
CERTIFICATES_END = "certificates_end"
"""The name, in what a host or a conductor tells, of the first end of its certificates."""

SOON_DAYS = 30
"""What a month's routine still sees in time, and a year's certificate does not reach early."""


def read(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, the holder's own first.

    :raises OSError: the file cannot be read
    :raises ValueError: there is none in it
    """
    from cryptography import x509  # 5 MiB in each process, for those that have certificates

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        raise ValueError(f"{path} has no certificate in PEM form") from None


def named(conf: cfg.ConfigOpts) -> list[Path]:
    """The files with certificates that a configuration names."""
    files = [*conf.certificates, conf.api.tls_certificate]
    if pki := conf.compute.pki_path:
        files += [f"{pki}/cacert.pem", f"{pki}/cert.pem"]
    return [Path(file) for file in files if file]


def end(path: Path) -> datetime.datetime:
    """When the first certificate in a file that ends does so, in UTC; see :func:`read`."""
    return min(one.not_valid_after_utc for one in read(path))


def first_end(paths: Iterable[Path]) -> datetime.datetime | None:
    """The earliest end of these files' certificates, in UTC; None when there are none.

    A file that cannot be read counts as ended long ago: whoever needs it cannot read it either.
    """
    return min(map(_end_or_past, paths), default=None)


def warn_of_end(paths: Iterable[Path]) -> None:
    """Log when the first of these files' certificates ends soon, or has ended."""
    found = first_end(paths)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=SOON_DAYS)
    if found and found < soon:
        LOG.warning("A certificate that this configuration names ends on %s", f"{found:%Y-%m-%d}")


def _end_or_past(path: Path) -> datetime.datetime:
    try:
        return end(path)
    except (OSError, ValueError):
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
