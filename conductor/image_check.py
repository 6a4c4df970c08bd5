"""Whether a file is the image that it is said to be, and nothing that reaches out of itself."""

from __future__ import annotations

import struct
from pathlib import Path

from oslo_utils.imageutils.format_inspector import (
    ImageFormatError,
    SafetyCheckFailed,
    detect_file_format,
)

from paddock.errors import BadRequest

LARGEST = 1 << 46
"""Bytes (64 TiB) of a guest's disk: what claims to be more is meant to do harm."""
LIKENESS = {
    "raw": {"raw", "gpt"},
    "qcow2": {"qcow2"},
    "aki": {"raw", "gpt"},
    "ari": {"raw", "gpt"},
}
"""Format → what a file of it looks like; a disk with a partition table is raw, too, and so is a
kernel with its boot sector."""
_SNAPSHOTS = struct.Struct(">60xI")
"""Of qcow2's header (docs/interop/qcow2.txt of QEMU): the number of snapshots."""


def check_image(file: Path, stated: str) -> int:
    """The bytes of the disk that the image describes.

    :param stated: one of LIKENESS
    :raises BadRequest: the file is of another format or of several at once, refers to other files,
        has snapshots, is broken, or describes a disk of absurd size
    """
    try:
        found = detect_file_format(str(file))
        if found is None or str(found) not in LIKENESS[stated]:
            raise BadRequest(
                f"The image's file must be {stated}, and is {found or 'nothing known'}."
            )
        if stated in ("raw", "qcow2"):
            found.safety_check()
    except ImageFormatError:
        raise BadRequest(
            f"The image's file must be {stated} and nothing else; it is broken, or several formats "
            "at once."
        ) from None
    except SafetyCheckFailed as error:
        wrong = "; ".join(str(one) for one in error.failures.values())
        raise BadRequest(f"The image's file must stand for itself: {wrong}.") from None
    if stated == "qcow2" and _snapshots(file):
        raise BadRequest(
            "The image's file must have no snapshots; flatten it with qemu-img convert."
        )
    size = found.virtual_size if stated == "qcow2" else file.stat().st_size
    if size > LARGEST:
        raise BadRequest(f"The image's disk must be of at most {LARGEST >> 40} TiB.")
    return int(size)


def _snapshots(file: Path) -> int:
    with file.open("rb") as stream:
        (count,) = _SNAPSHOTS.unpack(stream.read(_SNAPSHOTS.size))
    return int(count)
