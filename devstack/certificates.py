"""A stack's own certificate authority, and the certificates of its parts."""

import datetime
from pathlib import Path

from cryptography import x509

from conductor.certificates import CA_FILE, CERTIFICATE, Authority
from paddock.certificates import read

RENEWED = datetime.timedelta(days=30)


class Certificates:
    """What `paddock-manage certs` would make.

    :param directory: holds the CA, its key and all that it issues.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = Authority(directory)
        self.ca = directory / CA_FILE

    def of(self, role: str, name: str, *addresses: str) -> Path:
        """The directory of a part's `cert.pem`, `key.pem` and `cacert.pem`.

        They are made when they are not there, end soon, or are for other addresses.
        """
        if not self.ca.exists():
            self._authority.make()
        directory = self._directory / role / name
        if not (directory / CERTIFICATE).exists() or not _serves(directory, {name, *addresses}):
            self._authority.issue(name, role, addresses)
        return directory


def _serves(directory: Path, names: set[str]) -> bool:
    certificate = read(directory / CERTIFICATE)[0]
    if certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < RENEWED:
        return False
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(one.value) for one in found} == names
