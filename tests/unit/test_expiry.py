"""When certificates end is told by agents and conductors, shown, and warned of in time."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
import pytest

from compute_agent.drivers.fake import FakeDriver
from compute_agent.epoch import Identity
from compute_agent.facts import Facts
from conductor import expiry, hosts
from conductor.db.session import Database
from conductor.presence import Presence
from conductor.turn import Turns
from paddock.certificates import CERTIFICATES_END, end, first_end, named, warn_of_end
from paddock.config import load
from paddock.records import HostRecord, Listing
from tests import factories
from tests.fixtures.certificates import Certificates, certificates
from tests.unit.test_manage import Site, bare, site

__all__ = ["bare", "certificates", "site"]

NOW = datetime.datetime(2030, 5, 1)
DAY = datetime.timedelta(days=1)


def test_who_ended_or_ends_soon_is_named_with_the_day() -> None:
    ends = [("h1", NOW - DAY), ("h2", NOW + 29 * DAY), ("h3", NOW + 31 * DAY), ("h4", None)]
    assert expiry.warnings(ends, NOW, 30) == [
        "a certificate of h1 ended on 2030-04-30",
        "a certificate of h2 ends on 2030-05-30",
    ]
    assert expiry.warnings(ends, NOW, 0) == ["a certificate of h1 ended on 2030-04-30"]


def test_the_files_that_a_configuration_names_are_known(certificates: Certificates) -> None:
    assert named(load()) == []
    conf = load(
        overrides={
            "DEFAULT": {"certificates": ["/a.pem", "/b.pem"]},
            "api": {"tls_certificate": "/c.pem"},
            "compute": {"pki_path": "/d"},
        }
    )
    assert list(map(str, named(conf))) == [
        "/a.pem", "/b.pem", "/c.pem", "/d/cacert.pem", "/d/cert.pem",
    ]  # fmt: skip


def test_an_agent_tells_when_its_first_certificate_ends(
    tmp_path: Path, certificates: Certificates
) -> None:
    made = certificates.issue("h1", "host", days=3)
    files = [certificates.ca, made / "cert.pem"]
    identity = Identity("h1")
    identity.cloud_id = "c"
    driver = FakeDriver(factories.agent_conf(tmp_path, "h1"))
    facts = Facts(identity, driver, lambda *_: None, tmp_path / "facts", 3, files)
    facts._ask()
    assert facts.latest().extra[CERTIFICATES_END] == end(made / "cert.pem").isoformat()
    (made / "cert.pem").unlink()
    facts._ask()
    assert facts.latest().extra[CERTIFICATES_END].startswith("1970-01-01")


def test_a_certificate_that_is_renewed_is_told_anew(site: Site, certificates: Certificates) -> None:
    made = certificates.issue("c1", "conductor", days=3) / "cert.pem"
    for days in (3, 9):
        certificates.issue("c1", "conductor", days=days)
        presence = Presence(site_turns(site), "c1", "c1", certificates=[made])
        presence.note()
        [record] = shown(site)
        assert expiry.end_of(record) == end(made).replace(tzinfo=None)


def site_turns(site: Site) -> Turns:
    return Turns(Database(site.url), load(files=[site.configuration]), lambda _: None)


def shown(site: Site) -> list[HostRecord]:
    return site_turns(site).read(lambda turn: hosts.list_page(turn, Listing()))


@pytest.mark.parametrize("told", ["nonsense", 7, None, ["2030-05-01"], "0001-01-01T00:00:00+23:59"])
def test_what_a_host_tells_that_is_no_time_is_nothing(
    site: Site, certificates: Certificates, told: object
) -> None:
    Presence(site_turns(site), "c1", "c1").note()
    [record] = shown(site)
    assert expiry.end_of(record) is None
    assert expiry.end_of(msgspec.structs.replace(record, extra={CERTIFICATES_END: told})) is None


def test_service_list_shows_ends_and_check_warns_in_time(
    site: Site, certificates: Certificates
) -> None:
    made = certificates.issue("c2", "conductor", days=20) / "cert.pem"
    day = f"{first_end([made]):%Y-%m-%d}"
    Presence(site_turns(site), "c2", "c2", certificates=[made]).note()
    assert f"to {day}" in site.do("service", "list")
    status, out, _ = site.run("check", "--wait", "0")
    assert status == 1
    assert f"a certificate of paddock-conductor on c2 ends on {day}" in out
    assert "All invariants hold" in site.do("check", "--wait", "0", "--days", "10")


def test_the_apis_certificate_is_looked_at_where_its_configuration_is_given(
    site: Site, certificates: Certificates
) -> None:
    made = certificates.issue("soon", "api", days=20) / "cert.pem"
    file = site.file("api.conf", f"[api]\ntls_certificate = {made}\n")
    day = f"{end(made):%Y-%m-%d}"
    assert day in site.do("--config-file", file, "service", "list")
    status, out, _ = site.run("--config-file", file, "check", "--wait", "0")
    assert status == 1
    assert f"a certificate of this configuration ends on {day}" in out


def test_a_process_warns_in_its_log_of_what_ends_soon(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    late = certificates.issue("late", "api", days=40) / "cert.pem"
    warn_of_end([])
    warn_of_end([late])
    assert caplog.text == ""
    early = certificates.issue("early", "api", days=20) / "cert.pem"
    warn_of_end([late, early])
    assert f"ends on {end(early):%Y-%m-%d}" in caplog.text
