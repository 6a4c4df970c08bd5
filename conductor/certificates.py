"""A private certificate authority (CA): makes itself, and certificates for the cloud's channels.

Keys are ECDSA over P-256, signed with SHA-256: GnuTLS (libvirt, QEMU), Erlang (RabbitMQ), OpenSSL
(PostgreSQL, MariaDB, Python) all take it with their defaults, which is not so of Ed25519, and its
handshakes cost a fraction of RSA's. Extensions are those of RFC 5280.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Use
from cryptography.x509.oid import NameOID

from conductor.revocations import LIST, Register, take_back
from paddock.certificates import read
from paddock.drafts import drafted, refuse_shared
from paddock.errors import BadRequest, Conflict, NotFound

ROLES = {
    "api": [Use.SERVER_AUTH],
    "broker": [Use.SERVER_AUTH],
    "database": [Use.SERVER_AUTH],
    "conductor": [Use.CLIENT_AUTH],
    "host": [Use.SERVER_AUTH, Use.CLIENT_AUTH],
}
"""Role → what its certificate is good for. Hosts' agents serve each other, and ask each other."""
ORGANISATION = "Paddock"
CA_FILE = "cacert.pem"
CA_KEY = "cakey.pem"
CERTIFICATE = "cert.pem"
KEY = "key.pem"
CA_DAYS = 3650
DAYS = 365
LONGEST_DAYS = 36500
CLOCKS = datetime.timedelta(hours=1)
"""A certificate is good from so long ago, for machines whose clocks are late."""
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)
LONGEST_NAME = 64


@dataclass(frozen=True)
class Issued:
    """A certificate in a CA's directory; ``ends`` is in UTC."""

    name: str
    role: str
    ends: datetime.datetime


class Authority:
    """A CA in a directory of its own.

    Its key is only needed to issue, so the directory can be kept off the cloud's machines.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._certificate = directory / CA_FILE
        self._key = directory / CA_KEY
        self._register = Register(directory)

    def make(self, days: int = CA_DAYS) -> None:
        """Make the CA.

        :raises Conflict: there is one already; it would be lost with all that it issued
        """
        for path in (self._certificate, self._key):
            if path.exists():
                raise Conflict(f"{path} exists: a new CA needs a directory of its own.")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject("CA", f"{ORGANISATION} CA")
        builder = _builder(name, name, key.public_key(), _checked(days))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_ca_usage(), True)
        _write_key(self._key, key)
        _write(self._certificate, builder.sign(key, hashes.SHA256()))

    def issue(self, name: str, role: str, addresses: Sequence[str], days: int = DAYS) -> Path:
        """Make a key and a certificate, in place of those of that role and name if there are any.

        :param name: the machine's name, which clients may verify
        :param addresses: further names and IP addresses by which clients reach it
        :return: the directory that holds ``cacert.pem``, ``cert.pem`` and ``key.pem``
        :raises BadRequest: the name, the role or an address is none
        :raises Conflict: the CA is not there, or not one whose key is safe here
        """
        if role not in ROLES:
            raise BadRequest(f"The role must be one of {', '.join(ROLES)}, not {role!r}.")
        names = [_address(one) for one in (name, *addresses)]
        authority, signer = self._open()
        ends = _checked(days)
        if ends > authority.not_valid_after_utc:
            raise BadRequest(
                f"The certificate would outlive its CA, which ends on "
                f"{authority.not_valid_after_utc:%Y-%m-%d}: choose fewer --days."
            )
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(role, name), authority.subject, key.public_key(), ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(ROLES[role]), False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
        return self._place(role, name, key, builder.sign(signer, hashes.SHA256()))

    def revoke(self, name: str, role: str) -> int:
        """Take back all certificates of a role and name, and forget their files.

        :return: how many the list of all that were taken back (``cacrl.pem``) has now
        :raises NotFound: none was issued
        :raises Conflict: as in :meth:`issue`
        """
        authority, signer = self._open()
        numbers = self._register.numbers(role, name)
        if not numbers:
            raise NotFound(f"No certificate was issued here to {role} {name!r}.")
        now = datetime.datetime.now(datetime.UTC) - CLOCKS
        count = take_back(self._directory / LIST, numbers, authority, signer, now)
        shutil.rmtree(self._directory / role / name, ignore_errors=True)
        return count

    def issued(self) -> Iterator[Issued]:
        """The CA itself and all that it issued, as it lies in the directory.

        :raises OSError: there is no CA
        """
        yield Issued("CA", "", read(self._certificate)[0].not_valid_after_utc)
        for path in sorted(self._directory.glob(f"*/*/{CERTIFICATE}")):
            role, name = path.parts[-3:-1]
            yield Issued(name, role, read(path)[0].not_valid_after_utc)

    def _open(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        try:
            authority = read(self._certificate)[0]
            refuse_shared(self._key)
            key = serialization.load_pem_private_key(self._key.read_bytes(), None)
        except FileNotFoundError as error:
            raise Conflict(
                f"There is no {error.filename}: 'paddock-manage certs ca {self._directory}' "
                "makes a CA."
            ) from None
        except (TypeError, ValueError) as error:
            raise Conflict(f"{self._key} cannot be used: {error}.") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not _belongs(key, authority):
            raise Conflict(f"{self._key} is not the key of {self._certificate}.")
        return authority, key

    def _place(
        self, role: str, name: str, key: ec.EllipticCurvePrivateKey, made: x509.Certificate
    ) -> Path:
        directory = self._directory / role / name
        self._register.note(role, name, made.serial_number)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(directory / CA_FILE, read(self._certificate)[0])
        _write_key(directory / KEY, key)
        _write(directory / CERTIFICATE, made)
        return directory


def _belongs(key: ec.EllipticCurvePrivateKey, authority: x509.Certificate) -> bool:
    try:
        authority.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return bool(key.public_key() == authority.public_key())


def _checked(days: int) -> datetime.datetime:
    """The end of what is made now for so many days."""
    if not 1 <= days <= LONGEST_DAYS:
        raise BadRequest(f"--days must be 1 to {LONGEST_DAYS}, not {days}.")
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


def _address(text: str) -> x509.GeneralName:
    if "%" not in text:  # what follows it in an IPv6 address can be any text
        with suppress(ValueError):
            return x509.IPAddress(ipaddress.ip_address(text))
    if len(text) > LONGEST_NAME or not _NAME.fullmatch(text):
        raise BadRequest(
            f"{text!r} must be a host name of at most {LONGEST_NAME} characters or an IP address."
        )
    return x509.DNSName(text)


def _subject(role: str, name: str) -> x509.Name:
    parts = {
        NameOID.ORGANIZATION_NAME: ORGANISATION,
        NameOID.ORGANIZATIONAL_UNIT_NAME: role,
        NameOID.COMMON_NAME: name,
    }
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts.items()])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.now(datetime.UTC) - CLOCKS)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with drafted(path, text) as draft:
        draft.replace(path)


def _write(path: Path, certificate: x509.Certificate) -> None:
    with drafted(path, certificate.public_bytes(serialization.Encoding.PEM)) as draft:
        draft.chmod(0o644)
        draft.replace(path)
