"""Where images come from: a directory that is there, or the API, which gives a host those that it
has work for."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from compute_agent.drivers.base import Work
from compute_agent.helper import HelperFailed, run_helper
from compute_agent.keeping import settle
from paddock import tickets
from paddock.errors import HypervisorError
from paddock.records import ImageSpec

FETCH_SECONDS = 3600
PART = ".part"
"""Ends the names of files that are not whole."""


class ImageSource(Protocol):
    """Gives the files of images."""

    def find(self, image: ImageSpec, work: Work) -> Path:
        """The image's file, not verified yet.

        :raises HypervisorError: there is none
        :raises WorkCancelled: from ``work.check``; nothing is left
        """

    def forget(self, path: Path) -> None:
        """The file that was found is not what it should be."""


class ImageDirectory:
    """Images that are there already.

    :param store: the directory; only files below it are ever read
    """

    def __init__(self, store: Path) -> None:
        self._store = store

    def find(self, image: ImageSpec, work: Work) -> Path:  # noqa: ARG002 (nothing to wait for)
        """See the base."""
        store = self._store.resolve()
        path = (store / image.file).resolve()
        if not path.is_relative_to(store) or not path.is_file():
            raise HypervisorError(f"The file of the image {image.name!r} is not in the store.")
        return path

    def forget(self, path: Path) -> None:
        """It is not ours."""


class ImageDownloads:
    """Images from the API, kept once they are here; the step's ticket opens them.

    :param url: the API's
    :param authority: file with the certificates of who may have signed the API's, by default the
        system's
    :param directory: where they are kept
    """

    def __init__(self, url: str, authority: str | None, directory: Path) -> None:
        self._url = url.rstrip("/")
        self._authority = authority
        self._directory = directory

    def find(self, image: ImageSpec, work: Work) -> Path:
        """See the base; the checksum names the file, and was looked at."""
        path = self._directory / f"{image.checksum}.image"
        if not path.exists():
            try:
                self._fetch(image, path, work)
            except (HelperFailed, OSError) as error:  # also a disk that is full
                raise HypervisorError(
                    f"The image {image.name!r} could not be had from the API: {error}."
                ) from error
        return path

    def forget(self, path: Path) -> None:
        """The next one who needs it asks the API again."""
        path.unlink(missing_ok=True)

    def _fetch(self, image: ImageSpec, path: Path, work: Work) -> None:
        wanted = {
            "url": f"{self._url}{tickets.PATH}/{image.checksum}",
            "ticket": image.ticket,
            "authority": self._authority,
            "size": image.size,
        }
        with tempfile.NamedTemporaryFile(dir=self._directory, suffix=PART, delete=False) as part:
            here = Path(part.name)

            def watch() -> None:
                work.check()
                work.progress(here.stat().st_size, image.size)

            try:
                # In a program of its own: requests' sockets would not be the threads' kind here.
                command = [sys.executable, "-I", "-m", "compute_agent.fetch"]
                run_helper(command, FETCH_SECONDS, watch, json.dumps(wanted).encode(), part)
                settle(here, path)
            finally:
                here.unlink(missing_ok=True)
