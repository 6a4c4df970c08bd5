"""What a CA has issued, and the list of what it takes back (RFC 5280, section 5)."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from paddock.drafts import drafted

REGISTER = "issued"
LIST = "cacrl.pem"


class Register:
    """The numbers of all certificates that a CA issued, also of those that were renewed since.

    :param directory: the CA's
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / REGISTER

    def note(self, role: str, name: str, number: int) -> None:
        """Remember one, before anybody has it."""
        # Appended, since what is issued at the same time must not be lost.
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(f"{role} {name} {number:x}\n".encode())
            file.flush()
            os.fsync(handle)

    def numbers(self, role: str, name: str) -> list[int]:
        """Those of all certificates of a role and name."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        parts = (line.split() for line in lines)
        return [int(number, 16) for *owner, number in parts if owner == [role, name]]


def take_back(
    path: Path,
    numbers: Iterable[int],
    authority: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> int:
    """Add certificates to a CA's list; gives how many are on it now.

    The list is good as long as the CA: one that had ended would let nobody in.

    :param path: the list's, which need not be there yet
    :param numbers: the certificates'
    """
    dates = dict.fromkeys(numbers, now)
    if path.exists():
        listed = x509.load_pem_x509_crl(path.read_bytes())
        dates |= {one.serial_number: one.revocation_date_utc for one in listed}
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now)
        .next_update(authority.not_valid_after_utc)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
        .add_extension(x509.CRLNumber(int(now.timestamp())), False)
    )
    for number, date in dates.items():
        revoked = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(date)
        builder = builder.add_revoked_certificate(revoked.build())
    made = builder.sign(key, hashes.SHA256())
    with drafted(path, made.public_bytes(serialization.Encoding.PEM)) as draft:
        draft.chmod(0o644)
        draft.replace(path)
    return len(dates)
