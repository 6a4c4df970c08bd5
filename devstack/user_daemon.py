"""libvirt's daemon of an ordinary user, with all its files in the stack's directory.

Left to itself, libvirt would start one that writes to the user's home and outlives the stack.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from devstack.processes import Registry, wait_until

ROLE = "libvirtd"
START_SECONDS = 30.0
LONGEST = 44
"""Characters of the path: a socket's may have 107, and libvirt adds up to 63."""
VARIABLES = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
QEMU_CONF = 'stdio_handler = "file"\n'  # else another daemon would write the consoles


class UserDaemon:
    """Starts the daemon that ``qemu:///session`` means for whoever has its environment.

    :param directory: the stack's; the daemon's own files lie in its `user`
    :param registry: where its process is remembered
    """

    def __init__(self, directory: Path, registry: Registry) -> None:
        self._home = directory.resolve() / "user"
        self._registry = registry

    def start(self) -> Mapping[str, str]:
        """Start it if it is installed and does not run; gives the variables that lead to it."""
        configuration = self._home / "libvirt" / "qemu.conf"
        configuration.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration.write_text(QEMU_CONF)
        variables = dict.fromkeys(VARIABLES, str(_shortened(self._home)))
        program = shutil.which("libvirtd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program and self._registry.find(ROLE) is None:
            self._registry.spawn(ROLE, [program], env=variables)
            socket = self._home / "libvirt" / "libvirt-sock"
            wait_until(lambda: socket.exists() or not self._registry.find(ROLE), START_SECONDS)
        return variables


def links(directory: Path) -> Iterator[Path]:
    """The short names that stand for paths in the stack's directory."""
    for folder in {Path("/run"), _link_folder()}:
        for link in folder.glob("paddock-*"):
            if link.is_symlink() and link.readlink().is_relative_to(directory):
                yield link


def _shortened(home: Path) -> Path:
    """The path, or a link of this user's own to it where it is too long for sockets."""
    if len(str(home)) <= LONGEST:
        return home
    link = _link_folder() / f"paddock-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    ours = link.is_symlink() and link.lstat().st_uid == os.getuid() and link.readlink() == home
    if not ours:
        link.unlink(missing_ok=True)
        link.symlink_to(home)
    return link


def _link_folder() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
