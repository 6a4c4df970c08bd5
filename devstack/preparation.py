"""Fills a stack's database once: schema, users, network, images."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devstack.guest.build import GuestImages
from devstack.place import CHECKOUT, Place, StackFailed, program
from devstack.say import step
from devstack.settings import Sections, write_settings

MANAGE_SECONDS = 120.0


@dataclass(frozen=True)
class GuestNetwork:
    """The default network: ``cidr``, the gateway's address, and the first and last for guests."""

    cidr: str
    gateway: str
    first: str
    last: str


class Preparation:
    """Runs ``paddock-manage`` until the database holds what the demo needs.

    :param place: where the stack's files lie.
    :param conductor: the configuration that names the database.
    """

    def __init__(self, place: Place, conductor: Sections) -> None:
        self._place = place
        self._conductor = conductor

    def run(self, network: GuestNetwork, guest: GuestImages | None) -> None:
        """Prepare the database; nothing to do when nothing has changed since the last time.

        :param guest: the test guest, registered as images; None for a cloud of the fake driver
        :raises StackFailed: a command failed; the text holds what it said
        """
        self._place.images.mkdir(parents=True, exist_ok=True)
        stamp = self._place.directory / "state" / "prepared.json"
        current = self._fingerprint(network, guest)
        if stamp.exists() and stamp.read_text() == current:
            return
        self._settings = write_settings(self._place.settings("manage"), self._conductor)
        with step("Preparing the database"):
            self._manage("db", "upgrade")
            self._bootstrap(network)
        with step("Registering the test guest's images"):
            self._add_images(guest)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(current)

    def _bootstrap(self, network: GuestNetwork) -> None:
        self._manage(
            "bootstrap", "--users-file", str(self._place.users),
            "--network-cidr", network.cidr, "--network-gateway", network.gateway,
            "--network-first", network.first, "--network-last", network.last,
        )  # fmt: skip

    def _add_images(self, guest: GuestImages | None) -> None:
        if guest is None:
            blank = self._place.images / "blank.source"
            with blank.open("wb") as file:
                file.truncate(1 << 20)
            self._add("paddock-guest", blank)
            blank.unlink()
            return
        self._add(
            "paddock-guest", guest.disk,
            "--kernel", str(guest.vmlinuz), "--ramdisk", str(guest.initrd),
            "--command-line", guest.cmdline,
        )  # fmt: skip
        self._add("paddock-guest-disk", guest.boot)

    def _add(self, name: str, file: Path, *more: str) -> None:
        self._manage(
            "image", "add", "--name", name, "--file", str(file), "--format", "raw",
            "--store", str(self._place.images), *more,
        )  # fmt: skip

    def _manage(self, *arguments: str) -> None:
        command = [program("paddock-manage"), "--config-file", str(self._settings), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MANAGE_SECONDS, check=False
        )
        if done.returncode != 0:
            raise StackFailed(
                f"paddock-manage {' '.join(arguments[:2])} failed:\n{done.stderr[-2000:]}"
            )

    def _fingerprint(self, network: GuestNetwork, guest: GuestImages | None) -> str:
        files = [guest.disk, guest.boot, guest.vmlinuz, guest.initrd] if guest else []
        migrations = sorted((CHECKOUT / "conductor/db/migrations/versions").glob("*.py"))
        parts = {
            "network": network.cidr,
            "database": dict(self._conductor["database"]),
            "users": self._place.users.read_text(),
            "migrations": [path.name for path in migrations],
            "files": [_identity(path) for path in files],
        }
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _identity(path: Path) -> list[object]:
    found = path.stat()
    return [str(path), found.st_size, found.st_mtime_ns]
