"""The guest's disks, written as files: no root, no mount, no loop device."""

from __future__ import annotations

import struct
from pathlib import Path

from devstack.guest.tools import SYSLINUX_MBR, run

MIB = 1 << 20
SECTOR = 512

STATE_SIZE = 64  # MiB
BOOT_START = 1  # MiB
BOOT_SIZE = 23  # MiB
STATE_START = BOOT_START + BOOT_SIZE

_FAT16_LBA, _LINUX = 0x0E, 0x83
_ACTIVE = 0x80


def make_data_disk(target: Path) -> None:
    """Write a disk that is one ext4 file system, for a guest whose kernel is given directly.

    Raises:
        BuildError: a tool failed.
    """
    _make_sparse(target, STATE_SIZE)
    _format_state(target, 0)


def make_boot_disk(target: Path, kernel: Path, initrd: Path, cmdline: str, work: Path) -> None:
    """Write a disk that a BIOS can boot: FAT with syslinux, then ext4 for the guest's state.

    Args:
        target: the file to write.
        kernel: the kernel image.
        initrd: the initramfs.
        cmdline: the kernel's command line.
        work: a directory for the boot loader's configuration.

    Raises:
        BuildError: a tool failed.
    """
    _make_sparse(target, STATE_START + STATE_SIZE)
    _write_partitions(target)
    start = BOOT_START * MIB // SECTOR
    run(
        "mkfs.vfat",
        "-F",
        "16",
        "-n",
        "PADDOCK",
        "--offset",
        str(start),
        "-h",
        str(start),
        target,
        str(BOOT_SIZE * MIB // 1024),
    )
    config = work / "syslinux.cfg"
    config.write_text(
        "DEFAULT guest\nPROMPT 0\nLABEL guest\n"
        f" KERNEL vmlinuz\n INITRD initrd.gz\n APPEND {cmdline}\n"
    )
    volume = f"{target}@@{BOOT_START * MIB}"
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd.gz"), (config, config.name)):
        run("mcopy", "-i", volume, source, f"::{name}")
    run("syslinux", "--offset", str(BOOT_START * MIB), "--install", target)
    _format_state(target, STATE_START)


def _make_sparse(target: Path, size: int) -> None:
    """Make a file of so many MiB that occupies nothing."""
    with target.open("wb") as file:
        file.truncate(size * MIB)


def _format_state(target: Path, start: int) -> None:
    """Put an ext4 file system on the disk from so many MiB on."""
    # All is initialised here, so that no kernel thread writes behind the guest's back.
    options = f"offset={start * MIB},lazy_itable_init=0,lazy_journal_init=0"
    run(
        "mkfs.ext4",
        "-q",
        "-F",
        "-L",
        "paddock-state",
        "-N",
        "64",
        "-m",
        "0",
        "-E",
        options,
        target,
        f"{STATE_SIZE}M",
    )


def _write_partitions(target: Path) -> None:
    """Write the boot code and the table of two partitions into the first sector."""
    table = _describe(_ACTIVE, _FAT16_LBA, BOOT_START, BOOT_SIZE)
    table += _describe(0, _LINUX, STATE_START, STATE_SIZE)
    code = SYSLINUX_MBR.read_bytes()[:440]
    with target.open("r+b") as file:
        file.write(code.ljust(446, b"\0") + table.ljust(64, b"\0") + b"\x55\xaa")


def _describe(flag: int, kind: int, start: int, size: int) -> bytes:
    """One entry of an MBR's partition table; start and size in MiB."""
    no_geometry = b"\xfe\xff\xff"  # cylinders and heads say nothing: read the sector numbers
    numbers = struct.pack("<II", start * MIB // SECTOR, size * MIB // SECTOR)
    return bytes([flag]) + no_geometry + bytes([kind]) + no_geometry + numbers
