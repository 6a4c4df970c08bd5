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
from devstack.processes import Record, Registry, end, is_running
from devstack.say import say, step

URI_FILE = "hypervisor-uri"
"""Names the URI of the hypervisor that the embedded cloud's guests are on."""

WAVES = ({"embedded", "compute", "api"}, {"conductor"})
"""Roles that end together, before everything else in the reverse order of its start."""


def take_down(directory: Path, *, purge: bool = False) -> None:
    """Stop and remove all that was started with `directory` (the checkout's `.paddock`).

    :param purge: remove the directory, too.
    """
    directory = directory.resolve()
    registry = Registry(directory)
    records = registry.records()
    with step(f"Stopping {len(records)} process{'es' * (len(records) != 1)}"):
        _stop_processes(registry, records)
    with step("Removing guests"):
        _destroy_shared_guests(directory)
        end(guests(directory))
    if network.namespaces(prefix := network.prefix(directory)) or network.links(prefix):
        with step("Removing hosts, bridges and namespaces"):
            HostNet(directory, registry=registry).destroy()
    registry.stop_strays()
    _remove_links(directory)
    (directory / URI_FILE).unlink(missing_ok=True)
    if purge and directory.exists():
        shutil.rmtree(directory)
        say(f"Removed {directory}")


def _remove_links(directory: Path) -> None:
    """Remove the short names that the embedded hypervisor gives long paths."""
    for link in Path("/run").glob("paddock-*"):
        if link.is_symlink() and link.readlink().is_relative_to(directory):
            link.unlink(missing_ok=True)


def guests(directory: Path) -> list[int]:
    """The QEMU and dnsmasq processes whose pid files lie in `directory` and who work on it."""
    found = (_pid(path) for path in directory.rglob("*.pid"))
    return [pid for pid in found if pid and is_running(pid) and _works_on(pid, directory)]


def _stop_processes(registry: Registry, records: list[Record]) -> None:
    for wave in WAVES:
        registry.stop_all([record for record in records if record.role in wave])
    for record in reversed(registry.records()):
        registry.stop(record)


def _destroy_shared_guests(directory: Path) -> None:
    """Remove our guests from a libvirtd that is not ours; its other guests are left alone."""
    try:
        uri = (directory / URI_FILE).read_text().strip()
    except OSError:
        return
    if uri not in ("qemu:///system", "qemu:///session") or not shutil.which("virsh"):
        return
    for domain in _virsh(uri, "list", "--all", "--uuid").split():
        if f"{directory}/" in _virsh(uri, "dumpxml", domain):
            _virsh(uri, "destroy", domain)
            _virsh(uri, "undefine", domain, "--managed-save", "--nvram", "--snapshots-metadata")


def _virsh(uri: str, *arguments: str) -> str:
    command = ["virsh", "--connect", uri, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
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
