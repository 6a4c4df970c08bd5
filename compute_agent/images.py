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
from pathlib import Path
from typing import Any

from compute_agent.keeping import settle
from paddock.errors import HypervisorError
from paddock.records import ImageSpec

INFO_SECONDS = 30
CONVERT_SECONDS = 600


class ImageCache:
    """The images of a store directory, as this host uses them.

    :param store: the directory of the images; only files below it are ever read
    :param cache: a directory of this agent's own for stamps and converted images
    """

    def __init__(self, store: Path, cache: Path) -> None:
        self._store = store
        self._cache = cache
        cache.mkdir(parents=True, exist_ok=True)

    def file(self, image: ImageSpec) -> Path:
        """The image's own file, verified: what kernels and ramdisks need.

        :raises HypervisorError: it is not in the store or has another checksum
        """
        path = self._locate(image)
        stamp = self._cache / f"{image.checksum}.verified"
        identity = _identity(path)
        if not stamp.exists() or stamp.read_text() != identity:
            if _sha256(path) != image.checksum:
                raise HypervisorError(f"The image {image.name!r} has not the checksum it should.")
            _write(stamp, identity)
        return path

    def raw(self, image: ImageSpec) -> Path:
        """A raw file with the image's content, sparse where it is empty.

        :raises HypervisorError: as :meth:`file`; the format is not the stated one, or the file
            refers to other files
        """
        path = self.file(image)
        if image.disk_format == "raw":
            return path
        if image.disk_format != "qcow2":
            raise HypervisorError(
                f"The image {image.name!r} has the format {image.disk_format!r}, "
                "which is neither raw nor qcow2."
            )
        converted = self._cache / f"{image.checksum}.raw"
        if not converted.exists():
            self._convert(path, converted, image.name)
        return converted

    def _locate(self, image: ImageSpec) -> Path:
        store = self._store.resolve()
        path = (store / image.file).resolve()
        if not path.is_relative_to(store) or not path.is_file():
            raise HypervisorError(f"The file of the image {image.name!r} is not in the store.")
        if len(image.checksum) != 64 or not set(image.checksum) <= set("0123456789abcdef"):
            raise HypervisorError(f"The image {image.name!r} has no sha256 checksum.")
        return path

    def _convert(self, path: Path, converted: Path, name: str) -> None:
        info = json.loads(_qemu_img(["info", "--output=json", "-f", "qcow2", str(path)], name))
        _refuse_references(info, name)
        handle, part = tempfile.mkstemp(dir=self._cache, suffix=".part")
        os.close(handle)
        try:
            _qemu_img(["convert", "-f", "qcow2", "-O", "raw", str(path), part], name)
            settle(Path(part), converted)
        finally:
            Path(part).unlink(missing_ok=True)


def _refuse_references(info: dict[str, Any], name: str) -> None:
    specific = info.get("format-specific", {}).get("data", {})
    if info.get("backing-filename") or specific.get("data-file"):
        raise HypervisorError(f"The image {name!r} refers to another file, which is not allowed.")


def _qemu_img(arguments: list[str], name: str) -> bytes:
    seconds = CONVERT_SECONDS if arguments[0] == "convert" else INFO_SECONDS
    try:
        return subprocess.run(
            ["qemu-img", *arguments], check=True, capture_output=True, timeout=seconds
        ).stdout
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise HypervisorError(
            f"qemu-img cannot read the image {name!r} as qcow2: {said[-1]}"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"qemu-img did not do its work on the image {name!r}.") from error


def _identity(path: Path) -> str:
    """Changes whenever the file does."""
    found = path.stat()
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as stream:
        stream.write(text)
    Path(stream.name).rename(path)
