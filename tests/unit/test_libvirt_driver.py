"""What the libvirt driver does for itself, without a hypervisor of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paddock.actions import Seen
from paddock.errors import GuestHung, HypervisorError
from paddock.runtime import Handover
from tests import factories
from tests.agent_lab import eventually

libvirt = pytest.importorskip("libvirt")

from compute_agent.drivers.libvirt import xml  # noqa: E402
from compute_agent.drivers.libvirt.console import MOST_BYTES, READ_BYTES  # noqa: E402
from compute_agent.drivers.libvirt.driver import LibvirtDriver  # noqa: E402

INSTANCE = "6f1d8f0c-5a51-4c7e-9f1b-1d1f2f3f4f5f"


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LibvirtDriver]:
    """On libvirt's test driver, which has no capability that guests of ours need."""
    conf = factories.agent_conf(tmp_path)
    for option, value in (("uri", "test:///default"), ("network", "user"), ("call_timeout", 1)):
        conf.set_override(option, value, "libvirt")
    driver = LibvirtDriver(conf)
    yield driver
    driver.close()


def test_consoles_stay_small_whether_or_not_the_hypervisor_answers(
    driver: LibvirtDriver, tmp_path: Path
) -> None:
    logs = [tmp_path / "h1" / "guests" / name / "console.log" for name in ("large", "small")]
    for log, size in zip(logs, (MOST_BYTES + 1, MOST_BYTES), strict=True):
        log.parent.mkdir()
        log.write_bytes(b"x" * (size - 4) + b"end\n")
    with pytest.raises(HypervisorError):
        driver.facts()
    assert [log.stat().st_size for log in logs] == [READ_BYTES, MOST_BYTES]
    assert driver.console("large", 1).endswith("xend\n")


@pytest.fixture
def domain() -> Iterator[Any]:
    """A domain of an instance, that is off."""
    conn = libvirt.open("test:///default")
    domain = conn.defineXML(
        f"<domain type='test'><name>{INSTANCE}</name><memory>1024</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    yield domain
    if domain.isActive():
        domain.destroy()
    domain.undefine()
    conn.close()


def test_a_start_that_hangs_is_told_until_it_has_ended(
    driver: LibvirtDriver, domain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, may_go = libvirt.virDomain.create, Handover[bool]()

    def hang(domain: Any) -> Any:
        may_go.get(30)
        return create(domain)

    monkeypatch.setattr(libvirt.virConnect, "setKeepAlive", lambda *_: 0)  # it has none
    monkeypatch.setattr(libvirt.virDomain, "create", hang)
    monkeypatch.setattr(driver, "_prefix", "")
    with pytest.raises(GuestHung):
        driver._guest(INSTANCE).start()

    def told() -> tuple[Seen, bool]:
        return next((f.seen, f.worked_on) for f in driver.found() if f.instance_id == INSTANCE)

    assert told() == (Seen.OFF, True)
    may_go.put(True)
    eventually(lambda: told() == (Seen.RUNNING, False), "the start")


def test_a_guest_that_is_about_to_run_is_its_launchers(
    driver: LibvirtDriver, domain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reboot that is done again waits for the start that a former agent began."""
    marks = xml.Marks("cloud", "h1", INSTANCE, 1, "action", 1)
    element, config = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
    domain.setMetadata(element, xml.marks_xml(marks), "paddock", xml.PADDOCK, config)

    def job(_domain: Any) -> list[int]:
        if domain.isActive():
            return [libvirt.VIR_DOMAIN_JOB_NONE]
        domain.create()
        return [libvirt.VIR_DOMAIN_JOB_UNBOUNDED]

    monkeypatch.setattr(libvirt.virConnect, "setKeepAlive", lambda *_: 0)  # it has none
    monkeypatch.setattr(libvirt.virDomain, "jobInfo", job)
    monkeypatch.setattr(driver, "_prefix", "")
    assert driver.launched_by(INSTANCE) == "action"


def test_a_guest_that_is_about_to_run_is_ended_before_it_is_removed(
    driver: LibvirtDriver, domain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would run all the same, without a definition and on a disk that is gone."""
    ended: list[str] = []
    monkeypatch.setattr(libvirt.virConnect, "setKeepAlive", lambda *_: 0)  # it has none
    monkeypatch.setattr(libvirt.virDomain, "isActive", lambda _domain: not ended)
    monkeypatch.setattr(libvirt.virDomain, "destroy", lambda domain: ended.append(domain.name()))
    monkeypatch.setattr(libvirt.virDomain, "undefineFlags", lambda *_: 0)  # it knows no flags
    monkeypatch.setattr(driver, "_prefix", "")
    assert next(one for one in driver.found() if one.instance_id == INSTANCE).worked_on
    driver.destroy(INSTANCE, None)
    assert ended == [domain.name()]
