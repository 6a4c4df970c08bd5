"""The guest's kernel: found in the Debian archive, unpacked without installing it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from devstack.guest.tools import BuildError, run

META_PACKAGE = "linux-image-cloud-amd64"

APT_LISTS = Path("/var/lib/apt/lists")

MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "evdev", "button")
"""What the guest loads; ext4, AF_PACKET and the SMBIOS entries in sysfs are built in."""


@dataclass(frozen=True)
class KernelPackage:
    """A kernel package in the archive: its name and the exact version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: the image, and module files in the order to load them."""

    image: Path
    modules: tuple[Path, ...]


def read_lists_age() -> int:
    """When apt's lists last changed, in nanoseconds since 1970; 0 where there are none."""
    try:
        return APT_LISTS.stat().st_mtime_ns
    except OSError:
        return 0


def find_package() -> KernelPackage | None:
    """Ask apt's lists which kernel package is the current one; None when they do not say."""
    try:
        shown = run("apt-cache", "show", "--no-all-versions", META_PACKAGE).decode()
    except BuildError:
        return None
    found = re.search(r"^Depends:.*?(linux-image-\S+) \(= ([^)]+)\)", shown, re.MULTILINE)
    return KernelPackage(found[1], found[2]) if found else None


def unpack(package: KernelPackage, work: Path) -> Kernel:
    """Download and unpack a kernel package.

    Args:
        package: which one.
        work: an empty directory, for the package's files.

    Raises:
        BuildError: the download failed, or a module is not in the package.
    """
    # Root's apt downloads as the user _apt, who may not write here.
    run(
        "apt-get",
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        "download",
        f"{package.name}={package.version}",
        cwd=work,
    )
    (archive,) = work.glob("*.deb")
    tree = work / "tree"
    run("dpkg", "-x", archive, tree)
    (image,) = tree.glob("boot/vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    run("depmod", "-b", tree, release)
    return Kernel(image, _order_modules(tree / "lib/modules" / release))


def _order_modules(base: Path) -> tuple[Path, ...]:
    """Put the wanted modules and what they need into the order in which they can be loaded."""
    needs: dict[str, list[Path]] = {}
    for line in (base / "modules.dep").read_text().splitlines():
        module, _, needed = line.partition(":")
        # depmod names the nearest need first; loading starts with the farthest.
        files = [base / name for name in (module, *needed.split())]
        needs[files[0].stem.replace("-", "_")] = files[::-1]
    missing = [name for name in MODULES if name not in needs]
    if missing:
        raise BuildError(f"the kernel package lacks the modules {', '.join(missing)}")
    return tuple(dict.fromkeys(file for name in MODULES for file in needs[name]))
