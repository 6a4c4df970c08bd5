"""Images that are not what they are said to be, or reach out of themselves, are refused."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from conductor.image_check import LARGEST, check_image
from paddock.errors import BadRequest

SIZE = 4 << 20


def qemu_img(*arguments: object) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def make(path: Path, disk_format: str, *options: object, size: object = SIZE) -> Path:
    qemu_img("create", "-f", disk_format, *options, path, size)
    return path


def overwrite(path: Path, offset: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


def boot_sector(path: Path) -> Path:
    """With one partition of type Linux, active."""
    overwrite(path, 446, struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 2048, 2048))
    return overwrite(path, 510, b"\x55\xaa")


@pytest.mark.parametrize("disk_format", ["raw", "qcow2"])
def test_an_image_that_is_what_is_stated_is_taken(tmp_path: Path, disk_format: str) -> None:
    assert check_image(make(tmp_path / "a", disk_format), disk_format) == SIZE


def test_a_raw_disk_with_partitions_is_taken(tmp_path: Path) -> None:
    assert check_image(boot_sector(make(tmp_path / "a", "raw")), "raw") == SIZE


def test_a_boot_sector_without_partitions_is_refused_as_a_disk(tmp_path: Path) -> None:
    image = overwrite(make(tmp_path / "a", "raw"), 510, b"\x55\xaa")
    with pytest.raises(BadRequest, match="must stand for itself"):
        check_image(image, "raw")


def test_a_kernel_with_a_boot_sector_is_taken(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(bytes(510) + b"\x55\xaa" + b"HdrS" * 1000)
    assert check_image(kernel, "aki") == kernel.stat().st_size


@pytest.mark.parametrize("real", ["qcow2", "qed", "vmdk", "vdi", "vpc", "vhdx"])
@pytest.mark.parametrize("stated", ["raw", "aki", "ari"])
def test_what_qemu_could_take_for_another_format_is_refused(
    tmp_path: Path, real: str, stated: str
) -> None:
    with pytest.raises(BadRequest, match=f"must be {stated}"):
        check_image(make(tmp_path / "a", real), stated)


@pytest.mark.parametrize("real", ["raw", "qed", "vmdk"])
def test_what_is_no_qcow2_is_refused_as_such(tmp_path: Path, real: str) -> None:
    with pytest.raises(BadRequest, match="must be qcow2"):
        check_image(make(tmp_path / "a", real), "qcow2")


def test_a_vmdk_descriptor_that_points_at_a_host_file_is_refused(tmp_path: Path) -> None:
    text = (
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    )
    image = tmp_path / "a"
    image.write_text(text + 'RW 8192 FLAT "/etc/shadow" 0\n')
    for stated in ("raw", "qcow2"):
        with pytest.raises(BadRequest):
            check_image(image, stated)


def test_a_qcow2_that_refers_to_another_file_is_refused(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "raw")
    backed = make(tmp_path / "backed", "qcow2", "-b", base, "-F", "raw", size="4M")
    data = make(tmp_path / "data", "qcow2", "-o", f"data_file={tmp_path}/outside", size="4M")
    for image in (backed, data):
        with pytest.raises(BadRequest, match="must stand for itself"):
            check_image(image, "qcow2")


def test_a_qcow2_with_snapshots_is_refused(tmp_path: Path) -> None:
    image = make(tmp_path / "a", "qcow2")
    qemu_img("snapshot", "-c", "one", image)
    with pytest.raises(BadRequest, match="snapshots"):
        check_image(image, "qcow2")


def test_a_disk_of_absurd_size_is_refused(tmp_path: Path) -> None:
    image = make(tmp_path / "a", "qcow2", "-o", "cluster_size=2M", size=LARGEST + (1 << 20))
    assert image.stat().st_size < LARGEST
    with pytest.raises(BadRequest, match="64 TiB"):
        check_image(image, "qcow2")


def test_a_file_that_is_two_things_at_once_is_refused(tmp_path: Path) -> None:
    image = boot_sector(make(tmp_path / "a", "raw"))
    overwrite(image, 32768, b"\x01CD001\x01\x00")
    with pytest.raises(BadRequest):
        check_image(image, "raw")


def test_a_cut_or_empty_file_is_no_qcow2(tmp_path: Path) -> None:
    image = tmp_path / "a"
    for content in (b"", b"QFI\xfb", b"QFI\xfb\x00\x00\x00\x03"):
        image.write_bytes(content)
        with pytest.raises(BadRequest):
            check_image(image, "qcow2")
