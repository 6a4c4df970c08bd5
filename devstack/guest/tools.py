"""The Debian tools that build the test guest, and the one way to run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

TOOLS = {
    "apt-get": "apt",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "depmod": "kmod",
    "dpkg": "dpkg",
    "mcopy": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "syslinux": "syslinux",
}
"""Each tool's name and the Debian package that brings it."""

SYSLINUX_MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")

PACKAGES = (*sorted(set(TOOLS.values()) - {"apt", "dpkg"}), "syslinux-common")
"""What has to be installed before a guest can be built."""

# mkfs and depmod lie in sbin, which is not on the PATH of an ordinary user.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


class BuildError(Exception):
    """The guest cannot be built; the message says why and what would help."""


def check() -> None:
    """See that every tool is there.

    Raises:
        BuildError: some are missing; the message names the packages to install.
    """
    missing = {package for tool, package in TOOLS.items() if not shutil.which(tool, path=_PATH)}
    if not SYSLINUX_MBR.exists():
        missing.add("syslinux-common")
    if missing:
        raise BuildError(f"install these Debian packages first: {' '.join(sorted(missing))}")


def run(*command: str | Path, cwd: Path | None = None, given: bytes = b"") -> bytes:
    """Run a tool and wait for it, 120 seconds at most.

    Args:
        command: the tool and its arguments.
        cwd: the directory to run it in.
        given: bytes for its standard input.

    Returns:
        What it wrote to its standard output.

    Raises:
        BuildError: it is not there, failed, or took too long.
    """
    # mtools would refuse a partition whose geometry is not that of a floppy.
    environment = os.environ | {"PATH": _PATH, "LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            input=given,
            capture_output=True,
            check=True,
            timeout=120,
            env=environment,
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise BuildError(f"{command[0]} failed with status {error.returncode}: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from error
    return done.stdout


def find_busybox() -> Path:
    """Say where the static busybox lies.

    Raises:
        BuildError: there is none.
    """
    found = shutil.which("busybox", path=_PATH)
    if found is None:
        raise BuildError("install the Debian package busybox-static first")
    return Path(found)
