"""Builds the test guest from Debian packages: ``python -m devstack.guest.build DIR``."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devstack.guest import disks, initramfs, kernel, tools
from devstack.guest.tools import BuildError

CMDLINE = (
    "console=ttyS0 quiet loglevel=1 panic=5"
    " mitigations=off no_timer_check cryptomgr.notests 8250.nr_uarts=1"
)
"""The kernel's command line: silent, as the status lines share its console, and quick.

Under emulation the second half takes 0.5 s off the boot, and ``no_timer_check`` keeps the
kernel from giving up on the timer when the host is busy.
"""


@dataclass(frozen=True)
class GuestImages:
    """The built guest: kernel and initramfs with a data disk, or one disk that boots itself."""

    vmlinuz: Path
    initrd: Path
    disk: Path
    boot: Path
    cmdline: str


def build(target: Path, say: Callable[[str], None]) -> GuestImages:
    """Build the guest, unless it is there already and still current.

    Current means built from these sources and from the kernel package that apt's lists name;
    if the lists name none, from whatever kernel it was.

    Args:
        target: the directory to write into; made if need be.
        say: told in one line what takes time.

    Raises:
        BuildError: a tool or the kernel package cannot be had; the message says what to do.
    """
    images = GuestImages(
        vmlinuz=target / "vmlinuz",
        initrd=target / "initrd.gz",
        disk=target / "disk.raw",
        boot=target / "boot.raw",
        cmdline=CMDLINE,
    )
    stamp = target / "stamp.json"
    built = _read(stamp) if all(path.exists() for path in _list_files(images)) else {}
    wanted = {"sources": _digest_sources(), "lists": str(kernel.read_lists_age())}
    if wanted.items() <= built.items():
        return images
    package = kernel.find_package()
    current = str(package) if package else built.get("kernel")
    if built.get("sources") != wanted["sources"] or built.get("kernel") != current:
        tools.check()
        if package is None:
            raise BuildError(f"apt knows no {kernel.META_PACKAGE}: run apt-get update first")
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".building-") as work:
            _build_into(Path(work), images, package, say)
    stamp.write_text(json.dumps({**wanted, "kernel": current}))
    return images


def _build_into(
    work: Path, images: GuestImages, package: kernel.KernelPackage, say: Callable[[str], None]
) -> None:
    """Build everything in a scratch directory, then put each file into its place at once."""
    made = {path: work / path.name for path in _list_files(images)}
    for folder in ("kernel", "root", "boot"):
        (work / folder).mkdir()
    say(f"downloading the guest's kernel, {package}")
    unpacked = kernel.unpack(package, work / "kernel")
    say("building the guest's initramfs and disks")
    unpacked.image.replace(made[images.vmlinuz])
    initramfs.make(unpacked.modules, made[images.initrd], work / "root")
    disks.make_data_disk(made[images.disk])
    disks.make_boot_disk(
        made[images.boot], made[images.vmlinuz], made[images.initrd], CMDLINE, work / "boot"
    )
    for path, new in made.items():
        new.replace(path)


def _list_files(images: GuestImages) -> tuple[Path, ...]:
    return (images.vmlinuz, images.initrd, images.disk, images.boot)


def _digest_sources() -> str:
    digest = hashlib.sha256()
    for source in sorted(path for path in initramfs.SOURCES.iterdir() if path.is_file()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def _read(stamp: Path) -> dict[str, str]:
    """What the images were made of; nothing when that is not known."""
    try:
        return dict(json.loads(stamp.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m devstack.guest.build DIR")
    try:
        print(build(Path(sys.argv[1]), print))
    except BuildError as error:
        sys.exit(str(error))
