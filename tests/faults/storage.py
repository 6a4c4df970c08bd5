"""Disks that are full, and images that are not what they should be."""

from __future__ import annotations

import os
import shutil

from tests.faults.fault import HOSTS, Fault
from tests.faults.fleet import FILLER


class DiskFull(Fault):
    """A host has no room left for disks."""

    subjects = HOSTS
    usual = 15.0

    def inject(self) -> None:
        self._path = self.cloud.fleet.hosts[self.subject].disk_directory / FILLER
        with self._path.open("wb", buffering=0) as file:
            while not _fill(file.fileno(), shutil.disk_usage(self._path.parent).free):
                pass

    def heal(self) -> None:
        self._path.unlink(missing_ok=True)


class WrongImage(Fault):
    """The image in the store is damaged: it has not the checksum that it should."""

    subjects = ("images",)
    usual = 10.0

    def inject(self) -> None:
        store = self.cloud.place.images
        for path in sorted(store.iterdir()):
            path.rename(path.with_suffix(".good"))
            shutil.copy(path.with_suffix(".good"), path)
            with path.open("r+b") as file:
                file.write(b"damaged")

    def heal(self) -> None:
        for path in sorted(self.cloud.place.images.glob("*.good")):
            path.rename(path.with_suffix(""))


def _fill(file: int, size: int) -> bool:
    """Whether no room is left afterwards: others write, too."""
    try:
        os.posix_fallocate(file, 0, max(size, 1))
    except OSError:
        return not size
    return True
