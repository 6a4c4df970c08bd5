"""What the libvirt driver does for itself, without a hypervisor."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import HypervisorError
from tests import factories

pytest.importorskip("libvirt")

from compute_agent.drivers.libvirt.console import MOST_BYTES, READ_BYTES
from compute_agent.drivers.libvirt.driver import LibvirtDriver


def test_consoles_stay_small_whether_or_not_anybody_answers(tmp_path: Path) -> None:
    conf = factories.agent_conf(tmp_path)
    conf.set_override("uri", "nothing:///here", "libvirt")
    conf.set_override("network", "user", "libvirt")
    driver = LibvirtDriver(conf)
    try:
        logs = [tmp_path / "h1" / "guests" / name / "console.log" for name in ("large", "small")]
        for log, size in zip(logs, (MOST_BYTES + 1, MOST_BYTES), strict=True):
            log.parent.mkdir()
            log.write_bytes(b"x" * (size - 4) + b"end\n")
        with pytest.raises(HypervisorError):
            driver.facts()
        assert [log.stat().st_size for log in logs] == [READ_BYTES, MOST_BYTES]
        assert driver.console("large", 1).endswith("xend\n")
    finally:
        driver.close()
