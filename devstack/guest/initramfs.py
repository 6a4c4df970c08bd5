"""The guest's user space: busybox, a few modules and three scripts, as an initramfs."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable
from pathlib import Path

from devstack.guest.tools import find_busybox, run

SOURCES = Path(__file__).parent

SCRIPTS = {
    "init": "init",
    "dhcp-event": "etc/dhcp-event",
    "power-button": "etc/acpi/PWRF/00000080",  # where busybox's acpid looks for it
}

FOLDERS = ("bin", "dev", "etc/acpi/PWRF", "lib/modules", "proc", "run", "state", "sys")


def make(modules: Iterable[Path], target: Path, work: Path) -> None:
    """Write the initramfs.

    Args:
        modules: kernel modules in the order in which the guest shall load them.
        target: the file to write.
        work: an empty directory, for the tree.

    Raises:
        BuildError: a tool failed.
    """
    for folder in FOLDERS:
        (work / folder).mkdir(parents=True)
    shutil.copy(find_busybox(), work / "bin/busybox")
    (work / "bin/sh").symlink_to("busybox")
    for source, place in SCRIPTS.items():
        shutil.copy(SOURCES / source, work / place)
        (work / place).chmod(0o755)
    order = list(modules)
    for module in order:
        shutil.copy(module, work / "lib/modules")
    (work / "lib/modules/order").write_text("".join(f"{module.name}\n" for module in order))
    entries = sorted(str(path.relative_to(work)) for path in work.rglob("*"))
    archive = run(
        "cpio",
        "-o",
        "-H",
        "newc",
        "-R",
        "0:0",
        "--quiet",
        cwd=work,
        given="\n".join(entries).encode(),
    )
    target.write_bytes(gzip.compress(archive, mtime=0))
