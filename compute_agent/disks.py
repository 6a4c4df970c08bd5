"""Disks of guests as files: names, sparse copies, verification.

Drivers that keep disks in a directory share this. Nothing here logs or takes locks, because
drivers run in native threads under eventlet. A file has its final name only when it is whole.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from compute_agent.drivers.base import Work
from compute_agent.images import ImageCache
from compute_agent.keeping import settle
from compute_agent.parts import Parts
from compute_agent.sparse import copy, data_size, digest
from paddock import failpoints
from paddock.errors import HypervisorError
from paddock.records import ImageSpec

GIB = 1024**3
SMALLEST = 1024**2
_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAME = re.compile(rf"({_ID})\.g(\d+)\.raw")
_PART = re.compile(rf"({_ID})\.g(\d+)\.raw\.part")
Generations = list[int]


@contextmanager
def readable(doing: str) -> Iterator[None]:
    """Turn what the operating system refuses into a HypervisorError that says what was tried."""
    try:
        yield
    except OSError as error:
        raise HypervisorError(f"{doing} failed: {error.strerror or error}.") from error


def directory_of(store: str) -> Path:
    """The directory of a ``file:///directory`` store URI; HypervisorError for any other."""
    parts = urlsplit(store)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
        raise HypervisorError(f"The store {store!r} is not a directory of this machine.")
    return Path(unquote(parts.path))


class Copied(NamedTuple):
    """A copy that is still to be verified.

    :ivar digest: of what was read, as ``compute_agent.sparse`` makes it
    :ivar done: bytes that were read
    :ivar total: bytes in all, those that are to be read back included
    """

    digest: str
    done: int
    total: int


class DiskStore:
    """A directory of raw disks named ``<instance_id>.g<generation>.raw``.

    :param root: the directory; made when it is not there
    :param images: where new disks get their content from
    """

    def __init__(self, root: Path, images: ImageCache) -> None:
        self.root = root
        self._images = images
        root.mkdir(parents=True, exist_ok=True)

    def path(self, instance_id: str, generation: int) -> Path:
        """Where the disk of that generation lies, whether it is there or not."""
        name = f"{instance_id}.g{generation}.raw"
        if not _NAME.fullmatch(name):
            raise HypervisorError(f"{instance_id!r} is not the id of an instance.")
        return self.root / name

    def part(self, instance_id: str, generation: int) -> Path:
        """The name of that disk while it is not whole."""
        return self.path(instance_id, generation).with_suffix(".raw.part")

    def list(self) -> dict[str, Generations]:
        """Ids of instances with the generations of their disks, ascending."""
        disks: dict[str, Generations] = defaultdict(list)
        for entry in self.root.iterdir():
            if match := _NAME.fullmatch(entry.name):
                disks[match[1]].append(int(match[2]))
        return {instance_id: sorted(found) for instance_id, found in disks.items()}

    def generations(self, instance_id: str) -> Generations:
        """Generations of that instance's disks here, ascending."""
        return self.list().get(instance_id, [])

    def create_from_image(
        self, instance_id: str, generation: int, image: ImageSpec | None, size_gb: int, work: Work
    ) -> Path:
        """Have a disk with the image's content, grown to ``size_gb`` GiB; one there is kept.

        :param image: None, or one without a file, for an empty disk
        :param size_gb: 0 for the image's own size
        :raises HypervisorError: the image is damaged, larger than the disk, or there is no room
        :raises WorkCancelled: from ``work.check``; nothing is left
        """
        path, part = self.path(instance_id, generation), self.part(instance_id, generation)
        if path.exists():
            return path
        parts = Parts(work)
        source = self._images.raw(image, parts) if image and image.file else None
        with readable(f"Making the disk of {instance_id}"), self._discarding(part):
            size = max(size_gb * GIB, SMALLEST)
            if source is not None:
                own = source.stat().st_size
                if size_gb and own > size:
                    raise HypervisorError(
                        f"The image needs a disk of {-(-own // GIB)} GiB, not {size_gb} GiB."
                    )
                size = size if size_gb else max(own, SMALLEST)
            with open(part, "wb", opener=_open_private) as target:
                if source is not None:
                    with source.open("rb") as stream:
                        copy(stream, target, parts.begin(), total=data_size(stream))
                target.truncate(size)
        return self.adopt(instance_id, generation)

    def receive(self, source: Path, instance_id: str, generation: int, work: Work) -> Path:
        """Have a verified copy of another store's disk; one of this generation is kept as it is.

        ``work.progress`` counts every byte of data twice: once copied, once read back.

        :raises HypervisorError: the source is not there, or the copy differs from it
        :raises WorkCancelled: from ``work.check``; nothing is left
        """

        def fill(target: BinaryIO) -> Copied:
            with source.open("rb") as stream:
                total = 2 * data_size(stream)
                return Copied(*copy(stream, target, work, total=total), total)

        return self.receive_by(fill, instance_id, generation, work)

    def receive_by(
        self, fill: Callable[[BinaryIO], Copied], instance_id: str, generation: int, work: Work
    ) -> Path:
        """As :meth:`receive`, from wherever ``fill`` gets the disk that it writes into a file."""
        path, part = self.path(instance_id, generation), self.part(instance_id, generation)
        if path.exists():
            return path
        with (
            readable(f"Moving the disk of {instance_id}"),
            self._discarding(part),
            open(part, "w+b", opener=_open_private) as target,
        ):
            _verify(target, fill(target), work)
        return self.adopt(instance_id, generation)

    def open(self, instance_id: str, generation: int) -> BinaryIO:
        """A whole disk, to be read; HypervisorError when it is not there."""
        with readable(f"Reading the disk of {instance_id}"):
            return self.path(instance_id, generation).open("rb")

    def adopt(self, instance_id: str, generation: int) -> Path:
        """Give the whole disk at :meth:`part` its final name, durably."""
        path = self.path(instance_id, generation)
        with readable(f"Keeping the disk of {instance_id}"):
            settle(self.part(instance_id, generation), path)
        return path

    def clear(self) -> None:
        """Remove what is not whole, before any worker begins: those that wrote it are gone."""
        with readable("Removing unfinished disks"):
            for entry in tuple(self.root.iterdir()):
                if _PART.fullmatch(entry.name):
                    entry.unlink(missing_ok=True)

    def remove(self, instance_id: str, below: int | None) -> None:
        """Remove the instance's disks, whole or not, of generations below ``below``, or all."""
        with readable(f"Removing the disks of {instance_id}"):
            for entry in tuple(self.root.iterdir()):
                match = _NAME.fullmatch(entry.name) or _PART.fullmatch(entry.name)
                if match and match[1] == instance_id and (below is None or int(match[2]) < below):
                    entry.unlink(missing_ok=True)

    @contextmanager
    def _discarding(self, part: Path) -> Iterator[None]:
        try:
            yield
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _open_private(path: str, flags: int) -> int:
    """Guests' data is for its owner only, also while it is on its way."""
    return os.open(path, flags, 0o600)


def _verify(target: BinaryIO, copied: Copied, work: Work) -> None:
    failpoints.hit("disk.moving")
    target.flush()
    os.fsync(target.fileno())
    # What is read back must come from the disk, not from memory.
    os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if digest(target, work, done=copied.done, total=copied.total) != copied.digest:
        raise HypervisorError("The copy of the disk differs from its source.")
