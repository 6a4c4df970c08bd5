"""Takes a stack down: processes, guests, namespaces, bridges; and its files when asked to.

Works from what is found rather than from what should be there, so it may follow a run that failed
anywhere, and may be repeated. It needs the standard library only, so a stack can be taken down
without its virtual environment.
"""

import shutil
import subprocess
from pathlib import Path

from devstack import network
from devstack.hosts import HostNet
from devstack.processes import STARTING, Registry, end, is_running
from devstack.say import say, step
from devstack.user_daemon import links

URI_FILE = "hypervisor-uri"
"""Names the URI of the hypervisor that the embedded cloud's guests are on."""

WAVES = (
    {STARTING},
    {"embedded", "compute", "api"},
    {"conductor"},
    {"libvirtd"},
    {"rabbitmq", "postgres", "mariadb"},
)
"""Roles that end together, one wave after the other; everything else ends after them."""

VIRSH_SECONDS = 20.0
GRACE_SECONDS = 28.0
"""How long a wave may take; Paddock's own processes take less (see paddock/service.py)."""


def take_down(directory: Path, *, purge: bool = False) -> None:
    """Stop and remove all that was started with `directory` (the checkout's `.paddock`).

    :param purge: remove the directory, too.
    """
    directory = directory.resolve()
    registry = Registry(directory)
    count = len(registry.records())
    with step(f"Stopping {count} process{'es' * (count != 1)}"):
        _stop_processes(registry)
    with step("Removing guests"):
        _destroy_shared_guests(directory)
        end(guests(directory))
    if network.namespaces(prefix := network.prefix(directory)) or network.links(prefix):
        with step("Removing hosts, bridges and namespaces"):
            HostNet(directory, registry=registry).destroy()
    registry.stop_strays()
    for link in links(directory):
        link.unlink(missing_ok=True)
    (directory / URI_FILE).unlink(missing_ok=True)
    if purge and directory.exists():
        shutil.rmtree(directory)
        say(f"Removed {directory}")


def guests(directory: Path) -> list[int]:
    """The QEMU and dnsmasq processes whose pid files lie in `directory` and who work on it."""
    found = (_pid(path) for path in directory.rglob("*.pid"))
    return [pid for pid in found if pid and is_running(pid) and _works_on(pid, directory)]


def _stop_processes(registry: Registry) -> None:
    registry.wake()
    others = {record.role for record in registry.records()}.difference(*WAVES)
    for wave in (*WAVES, others):
        records = [record for record in registry.records() if record.role in wave]
        for name in registry.stop_all(records, GRACE_SECONDS):
            say(f"  {name} did not end within {GRACE_SECONDS:.0f} s and was killed")
        registry.stop_helpers()


def _destroy_shared_guests(directory: Path) -> None:
    """Remove our guests from a libvirtd that is not ours; its other guests are left alone."""
    try:
        uri = (directory / URI_FILE).read_text().strip()
    except OSError:
        return
    if uri != "qemu:///system" or not shutil.which("virsh"):
        return
    try:
        for domain in _virsh(uri, "list", "--all", "--uuid").split():
            if f"{directory}/" in _virsh(uri, "dumpxml", domain):
                _virsh(uri, "destroy", domain)
                _virsh(uri, "undefine", domain, "--managed-save", "--nvram", "--snapshots-metadata")
    except subprocess.TimeoutExpired:
        say(f"  {uri} does not answer: its guests are ended without it, and stay defined there")


def _virsh(uri: str, *arguments: str) -> str:
    command = ["virsh", "--connect", uri, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=VIRSH_SECONDS, check=False
    )
    return done.stdout


def _pid(path: Path) -> int:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _works_on(pid: int, directory: Path) -> bool:
    """Whether it is a QEMU or dnsmasq whose command line names a path in `directory`."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    program = Path(command.split(b"\0")[0].decode(errors="replace")).name
    ours = f"{directory}/".encode() in command
    return ours and program.startswith(("qemu-system-", "dnsmasq"))
