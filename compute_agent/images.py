"""Images on this host: found in the store, verified once, made raw.

Nothing here logs or takes locks, because drivers run in native threads under eventlet. Two
launches that need the same image at once may both do the work; the last result stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from compute_agent.drivers.base import UNWATCHED, Work
from compute_agent.keeping import settle
from compute_agent.parts import Parts
from compute_agent.sparse import CHUNK
from paddock.errors import HypervisorError
from paddock.records import ImageSpec

INFO_SECONDS = 30
CONVERT_SECONDS = 3600
WATCH_SECONDS = 0.05
PART = ".part"
"""Ends the names of files that are not whole."""


class ImageCache:
    """The images of a store directory, as this host uses them.

    :param store: the directory of the images; only files below it are ever read
    :param cache: a directory of this agent's own for stamps and converted images
    """

    def __init__(self, store: Path, cache: Path) -> None:
        self._store = store
        self._cache = cache
        cache.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove what is not whole, before any worker begins: those that wrote it are gone."""
        for part in self._cache.glob(f"*{PART}"):
            part.unlink(missing_ok=True)

    def file(self, image: ImageSpec, work: Work = UNWATCHED) -> Path:
        """The image's own file, verified: what kernels and ramdisks need.

        :raises HypervisorError: it is not in the store or has another checksum
        :raises WorkCancelled: from ``work.check``
        """
        path = self._locate(image)
        stamp = self._cache / f"{image.checksum}.verified"
        identity = _identity(path)
        if not stamp.exists() or stamp.read_text() != identity:
            if _sha256(path, work) != image.checksum:
                raise HypervisorError(f"The image {image.name!r} has not the checksum it should.")
            _write(stamp, identity)
        return path

    def raw(self, image: ImageSpec, parts: Parts) -> Path:
        """A raw file with the image's content, sparse where it is empty.

        :raises HypervisorError: as :meth:`file`; the format is not the stated one, or the file
            refers to other files
        :raises WorkCancelled: from the work's ``check``; nothing is left
        """
        path = self.file(image, parts.begin())
        if image.disk_format == "raw":
            return path
        if image.disk_format != "qcow2":
            raise HypervisorError(
                f"The image {image.name!r} has the format {image.disk_format!r}, "
                "which is neither raw nor qcow2."
            )
        converted = self._cache / f"{image.checksum}.raw"
        if not converted.exists():
            self._convert(path, converted, image.name, parts.begin())
        return converted

    def _locate(self, image: ImageSpec) -> Path:
        store = self._store.resolve()
        path = (store / image.file).resolve()
        if not path.is_relative_to(store) or not path.is_file():
            raise HypervisorError(f"The file of the image {image.name!r} is not in the store.")
        if len(image.checksum) != 64 or not set(image.checksum) <= set("0123456789abcdef"):
            raise HypervisorError(f"The image {image.name!r} has no sha256 checksum.")
        return path

    def _convert(self, path: Path, converted: Path, name: str, work: Work) -> None:
        info = json.loads(_qemu_img(["info", "--output=json", "-f", "qcow2", str(path)], name))
        _refuse_references(info, name)
        handle, part = tempfile.mkstemp(dir=self._cache, suffix=PART)
        os.close(handle)

        def watch() -> None:
            work.check()
            work.progress(Path(part).stat().st_blocks * 512, info["virtual-size"])

        try:
            _qemu_img(["convert", "-f", "qcow2", "-O", "raw", str(path), part], name, watch)
            settle(Path(part), converted)
        finally:
            Path(part).unlink(missing_ok=True)


def _refuse_references(info: dict[str, Any], name: str) -> None:
    specific = info.get("format-specific", {}).get("data", {})
    if info.get("backing-filename") or specific.get("data-file"):
        raise HypervisorError(f"The image {name!r} refers to another file, which is not allowed.")


def _qemu_img(arguments: list[str], name: str, watch: Callable[[], None] = lambda: None) -> bytes:
    """What qemu-img says; it ends with this process.

    :param watch: called several times a second; what it raises ends qemu-img
    """
    until = time.monotonic() + (CONVERT_SECONDS if arguments[0] == "convert" else INFO_SECONDS)
    command = ["setpriv", "--pdeathsig", "KILL", "qemu-img", *arguments]
    with TemporaryFile() as said, TemporaryFile() as complaint:
        try:
            with subprocess.Popen(command, stdout=said, stderr=complaint) as process:
                _await(process, until, watch)
        except OSError as error:
            raise HypervisorError(f"qemu-img cannot be run: {error.strerror}.") from error
        said.seek(0)
        complaint.seek(0)
        if process.returncode:
            lines = complaint.read().decode("utf-8", "replace").strip().splitlines() or ["nothing"]
            raise HypervisorError(f"qemu-img cannot read the image {name!r} as qcow2: {lines[-1]}")
        return said.read()


def _await(process: subprocess.Popen[bytes], until: float, watch: Callable[[], None]) -> None:
    """Not by its own waiting: under eventlet that raises errors of a class that nobody knows."""
    try:
        while process.poll() is None:
            if time.monotonic() > until:
                raise HypervisorError("qemu-img did not end in time.")
            watch()
            time.sleep(WATCH_SECONDS)
    finally:
        process.kill()


def _identity(path: Path) -> str:
    """Changes whenever the file does."""
    found = path.stat()
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n"


def _sha256(path: Path, work: Work) -> str:
    digest, total, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            work.check()
            digest.update(chunk)
            done += len(chunk)
            work.progress(done, total)
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=PART, delete=False) as stream:
        stream.write(text)
    Path(stream.name).rename(path)
