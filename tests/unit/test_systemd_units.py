"""The units of systemd confine each process to what it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "etc/systemd"
SERVICES = ("api", "conductor", "compute")
YES = (
    "NoNewPrivileges", "PrivateIPC", "PrivateTmp", "ProtectClock", "ProtectControlGroups",
    "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID",
    "LockPersonality", "MemoryDenyWriteExecute",
)  # fmt: skip
ALIKE = {key: ["yes"] for key in YES} | {
    "ProtectSystem": ["strict"],
    "ProtectProc": ["invisible"],
    "SystemCallArchitectures": ["native"],
    "SystemCallFilter": ["@system-service", "~@privileged"],
    "StateDirectory": ["paddock"],
}
UNPRIVILEGED = {
    "UMask": ["0077"],
    "User": ["paddock"],
    "CapabilityBoundingSet": [""],
    "PrivateDevices": ["yes"],
    "PrivateUsers": ["yes"],
    "ProcSubset": ["pid"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX"],
}
AGENT = {
    "UMask": ["0066"],  # QEMU has a user of its own, who must get to guests' disks
    "CapabilityBoundingSet": ["CAP_DAC_OVERRIDE CAP_FOWNER CAP_NET_ADMIN CAP_NET_RAW"],
    "DevicePolicy": ["closed"],
    "DeviceAllow": ["/dev/kvm rw"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX AF_NETLINK"],
}
WANTED = {
    "api": ALIKE | UNPRIVILEGED | {"LimitNOFILE": ["4096"]},
    "conductor": ALIKE | UNPRIVILEGED,
    "compute": ALIKE | AGENT,
}
EXPOSED_AT_MOST = {"api": 1.5, "conductor": 1.5, "compute": 3.0}
"""By systemd's own measure: 0 is nothing, 10 is all."""


def settings(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"paddock-{name}.service").read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_confines_its_process(name: str) -> None:
    held = settings(name)
    assert {key: held.get(key) for key in WANTED[name]} == WANTED[name]


def test_every_service_is_looked_at() -> None:
    assert {path.stem for path in UNITS.glob("*.service")} == {f"paddock-{n}" for n in SERVICES}


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_finds_little_exposed(name: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    unit = UNITS / f"paddock-{name}.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "Unknown" not in done.stderr, done.stderr
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout
    assert float(found.group(1)) <= EXPOSED_AT_MOST[name]
