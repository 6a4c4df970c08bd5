"""paddock-manage certs: what is made, that it is what each channel's ends take, and refusals."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conductor import manage
from conductor.certificates import Authority
from paddock import certificates
from paddock.certificates import read

DAY = datetime.timedelta(days=1)


class Desk:
    """Somebody who runs ``paddock-manage certs`` in a directory."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.ca = root / "ca"
        self._capsys = capsys

    def do(self, *arguments: str) -> str:
        assert manage.main(["certs", *arguments]) == 0
        return self._capsys.readouterr().out

    def refused(self, *arguments: str) -> str:
        assert manage.main(["certs", *arguments]) == 2
        said = self._capsys.readouterr().err
        assert said.startswith("paddock-manage: ")
        assert said.count("\n") == 1
        return said

    def issue(self, name: str, role: str, *more: str) -> Path:
        self.do("issue", str(self.ca), name, "--role", role, *more)
        return self.ca / role / name


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk(tmp_path, capsys)
    made.do("ca", str(made.ca))
    return made


def uses(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return {one._name for one in found}


def shake(server: Path, client: Path | None, ca: Path, name: str) -> None:
    """A handshake between two ends that verify each other; raises what either end raises."""
    ours, theirs = socket.socketpair()
    wrong: list[Exception] = []
    inside = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    inside.load_cert_chain(server / "cert.pem", server / "key.pem")
    outside = ssl.create_default_context(cafile=str(ca))
    if client:
        inside.verify_mode = ssl.CERT_REQUIRED
        outside.load_cert_chain(client / "cert.pem", client / "key.pem")

    def serve() -> None:
        try:
            with inside.wrap_socket(ours, server_side=True) as end:
                end.recv(1)
        except OSError as error:
            wrong.append(error)
            ours.close()

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        with outside.wrap_socket(theirs, server_hostname=name) as end:
            end.sendall(b".")
    finally:
        theirs.close()
        serving.join(10)
    if wrong:
        raise wrong[0]


@pytest.mark.parametrize(
    ("role", "good_for"),
    [
        ("api", {"serverAuth"}),
        ("broker", {"serverAuth"}),
        ("database", {"serverAuth"}),
        ("conductor", {"clientAuth"}),
        ("host", {"serverAuth", "clientAuth"}),
    ],
)
def test_a_certificate_names_its_role_and_is_good_for_no_more(
    desk: Desk, role: str, good_for: set[str]
) -> None:
    [certificate] = read(desk.issue("one", role) / "cert.pem")
    assert certificate.subject.rfc4514_string() == f"CN=one,OU={role},O=Paddock"
    assert uses(certificate) == good_for


def test_a_server_is_believed_by_each_of_its_names_and_addresses_only(desk: Desk) -> None:
    made = desk.issue("db", "database", "--address", "10.0.0.9", "--address", "db.example.org")
    for name in ("db", "db.example.org", "10.0.0.9"):
        shake(made, None, desk.ca / "cacert.pem", name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(made, None, desk.ca / "cacert.pem", "10.0.0.8")


def test_hosts_are_let_in_by_hosts_and_other_roles_are_not_clients(desk: Desk) -> None:
    first, second = (desk.issue(name, "host") for name in ("h1", "h2"))
    shake(first, second, desk.ca / "cacert.pem", "h1")
    with pytest.raises(ssl.SSLError):
        shake(first, desk.issue("api", "api"), desk.ca / "cacert.pem", "h1")


def test_keys_are_their_owner_s_only_and_no_two_are_the_same(desk: Desk) -> None:
    made = [desk.issue("h1", "host") / "key.pem", desk.issue("h2", "host") / "key.pem"]
    for path in (*made, desk.ca / "cakey.pem"):
        assert path.stat().st_mode & 0o777 == 0o600
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert made[0].read_bytes() != made[1].read_bytes()


def test_issuing_again_renews_key_and_certificate(desk: Desk) -> None:
    made = desk.issue("h1", "host", "--days", "5")
    before = (made / "key.pem").read_bytes(), read(made / "cert.pem")[0]
    desk.issue("h1", "host", "--days", "9")
    after = (made / "key.pem").read_bytes(), read(made / "cert.pem")[0]
    assert before[0] != after[0]
    assert after[1].not_valid_after_utc - before[1].not_valid_after_utc > 3 * DAY
    shake(made, made, desk.ca / "cacert.pem", "h1")


def test_the_list_shows_names_roles_and_ends(desk: Desk) -> None:
    desk.issue("h1", "host", "--days", "5")
    desk.issue("c1", "conductor")
    heads, _, *rows = desk.do("list", str(desk.ca)).splitlines()
    assert heads.split() == ["name", "role", "ends", "days"]
    assert [row.split()[:2] for row in rows[1:]] == [["c1", "conductor"], ["h1", "host"]]
    assert rows[2].split()[-1] == "4"


def test_all_certificates_of_a_host_are_taken_back_also_renewed_ones(desk: Desk) -> None:
    numbers = []
    for name in ("h1", "h1", "h2", "h3"):
        [certificate] = read(desk.issue(name, "host") / "cert.pem")
        numbers.append(certificate.serial_number)
    for name, count in (("h1", 2), ("h3", 3), ("h3", 3)):
        assert f"names {count} cert" in desk.do("revoke", str(desk.ca), name, "--role", "host")
        made = x509.load_pem_x509_crl((desk.ca / "cacrl.pem").read_bytes())
    assert {one.serial_number for one in made} == {numbers[0], numbers[1], numbers[3]}
    [ca] = read(desk.ca / "cacert.pem")
    assert made.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    assert "h3" not in desk.do("list", str(desk.ca))
    [anew] = read(desk.issue("h1", "host") / "cert.pem")
    assert anew.serial_number not in {one.serial_number for one in made}
    said = desk.refused("revoke", str(desk.ca), "h1", "--role", "api")
    assert "No certificate was issued" in said


def test_certificates_that_are_issued_at_the_same_time_can_all_be_taken_back(desk: Desk) -> None:
    names = [f"h{number}" for number in range(16)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: Authority(desk.ca).issue(name, "host", []), names))
    for name in names:
        said = desk.do("revoke", str(desk.ca), name, "--role", "host")
    assert f"names {len(names)} cert" in said


def test_a_ca_is_never_overwritten(desk: Desk) -> None:
    before = (desk.ca / "cakey.pem").read_bytes()
    assert "exists" in desk.refused("ca", str(desk.ca))
    (desk.ca / "cacert.pem").unlink()
    assert "exists" in desk.refused("ca", str(desk.ca))
    assert (desk.ca / "cakey.pem").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["", "..", "../h1", "h 1", "h1,OU=host", "*", "a" * 65, "h1\n", "fe80::1%h 1\n"]
)
def test_a_name_that_is_none_is_refused(desk: Desk, name: str) -> None:
    assert "must be a host name" in desk.refused("issue", str(desk.ca), name, "--role", "host")
    said = desk.refused("issue", str(desk.ca), "h1", "--role", "host", "--address", name)
    assert "must be a host name" in said
    assert not (desk.ca / "host").exists()


def test_a_certificate_does_not_outlive_its_ca(desk: Desk, tmp_path: Path) -> None:
    brief = str(tmp_path / "brief")
    desk.do("ca", brief, "--days", "5")
    assert "outlive" in desk.refused("issue", brief, "h1", "--role", "host")
    for days in ("0", "-1", "100000"):
        said = desk.refused("issue", brief, "h1", "--role", "host", "--days", days)
        assert "--days must be" in said


def test_a_ca_s_key_that_is_not_safe_or_not_its_own_signs_nothing(
    desk: Desk, tmp_path: Path
) -> None:
    key = desk.ca / "cakey.pem"
    wish = ("issue", str(desk.ca), "h1", "--role", "host")
    key.chmod(0o640)
    assert "owner only" in desk.refused(*wish)
    key.chmod(0o600)
    for foreign in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
        key.write_bytes(
            foreign.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        assert "is not the key of" in desk.refused(*wish)
    key.write_text("nonsense")
    assert "cannot be used" in desk.refused(*wish)
    key.unlink()
    assert "There is no" in desk.refused(*wish)
    assert "makes a CA" in desk.refused("issue", str(tmp_path / "no"), "h1", "--role", "host")
    assert "No such file" in desk.refused("list", str(tmp_path / "no"))
    assert not (desk.ca / "host").exists()


def test_the_first_end_of_some_files_is_told_and_one_that_is_away_counts_as_ended(
    desk: Desk, tmp_path: Path
) -> None:
    late, early = desk.issue("c1", "conductor"), desk.issue("h1", "host", "--days", "2")
    found = certificates.first_end([late / "cert.pem", early / "cert.pem"])
    assert found == read(early / "cert.pem")[0].not_valid_after_utc
    assert certificates.first_end([]) is None
    gone = certificates.first_end([late / "cert.pem", tmp_path / "away.pem"])
    assert gone is not None
    assert gone.year == 1970
