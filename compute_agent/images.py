"""Images on this host: found, verified once, made raw.

Nothing here logs or takes locks, because drivers run in native threads under eventlet. Two
launches that need the same image at once may both do the work; the last result stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oslo_config import cfg

from compute_agent.drivers.base import UNWATCHED, Work
from compute_agent.helper import HelperFailed, run_helper
from compute_agent.image_source import PART, ImageDirectory, ImageDownloads, ImageSource
from compute_agent.keeping import settle
from compute_agent.parts import Parts
from compute_agent.sparse import CHUNK
from paddock.errors import HypervisorError
from paddock.records import ImageSpec

INFO_SECONDS = 30
CONVERT_SECONDS = 3600


def image_cache(conf: cfg.ConfigOpts, cache: Path) -> ImageCache:
    """The images of an agent, from where its configuration says.

    :param cache: a directory of this agent's own; made if need be, so that the hypervisor's user
        gets to kernels there, which libvirt gives it, and to nothing else
    """
    cache.mkdir(mode=0o711, parents=True, exist_ok=True)
    options = conf.compute
    source: ImageSource = ImageDirectory(Path(options.image_store))
    if options.image_url:
        source = ImageDownloads(options.image_url, options.image_ca, cache)
    return ImageCache(source, cache)


class ImageCache:
    """Images as this host uses them.

    :param source: where they come from
    :param cache: a directory of this agent's own, which is there
    """

    def __init__(self, source: ImageSource, cache: Path) -> None:
        self._source = source
        self._cache = cache

    def clear(self) -> None:
        """Remove what is not whole, before any worker begins: those that wrote it are gone."""
        for part in self._cache.glob(f"*{PART}"):
            part.unlink(missing_ok=True)

    def file(self, image: ImageSpec, work: Work = UNWATCHED) -> Path:
        """The image's own file, verified: what kernels and ramdisks need.

        :raises HypervisorError: it cannot be had or has another checksum
        :raises WorkCancelled: from ``work.check``
        """
        return self._verified(image, Parts(work))

    def _verified(self, image: ImageSpec, parts: Parts) -> Path:
        _refuse_odd_checksum(image)
        path = self._source.find(image, parts.begin())
        stamp = self._cache / f"{image.checksum}.verified"
        identity = _identity(path)
        if not stamp.exists() or stamp.read_text() != identity:
            if _sha256(path, parts.begin()) != image.checksum:
                self._source.forget(path)
                raise HypervisorError(f"The image {image.name!r} has not the checksum it should.")
            _write(stamp, identity)
        return path

    def raw(self, image: ImageSpec, parts: Parts) -> Path:
        """A raw file with the image's content, sparse where it is empty.

        :raises HypervisorError: as :meth:`file`; the format is not the stated one, or the file
            refers to other files
        :raises WorkCancelled: from the work's ``check``; nothing is left
        """
        path = self._verified(image, parts)
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


def _refuse_odd_checksum(image: ImageSpec) -> None:
    """It names files."""
    if len(image.checksum) != 64 or not set(image.checksum) <= set("0123456789abcdef"):
        raise HypervisorError(f"The image {image.name!r} has no sha256 checksum.")


def _refuse_references(info: dict[str, Any], name: str) -> None:
    specific = info.get("format-specific", {}).get("data", {})
    if info.get("backing-filename") or specific.get("data-file"):
        raise HypervisorError(f"The image {name!r} refers to another file, which is not allowed.")


def _qemu_img(arguments: list[str], name: str, watch: Callable[[], None] = lambda: None) -> bytes:
    """What qemu-img says.

    :param watch: called several times a second; what it raises ends qemu-img
    """
    seconds = CONVERT_SECONDS if arguments[0] == "convert" else INFO_SECONDS
    try:
        return run_helper(["qemu-img", *arguments], seconds, watch)
    except HelperFailed as error:
        raise HypervisorError(
            f"qemu-img cannot read the image {name!r} as qcow2: {error}"
        ) from error


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
