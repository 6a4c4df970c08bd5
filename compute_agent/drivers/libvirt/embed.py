"""libvirt's QEMU driver inside this process, for root on a machine without a libvirt daemon.

Guests outlive the process, also when it is killed: the next one that opens the same directory
has them again. Only one process at a time can, and a process can open only one directory.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from compute_agent.drivers.libvirt.connection import Connection, is_embedded
from compute_agent.drivers.libvirt.guest import remove

LONGEST_ROOT = 50
"""Characters of the directory's path: sockets below it may have 107 in all."""
LINKS = Path("/run")
PURGE_SECONDS = 60.0
CONFIGURATION = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""


def prepare(root: Path) -> str:
    """Have the driver's directory ready, with a configuration if it has none.

    :param root: the directory; where its path is long, a short link stands for it
    :returns: the URI
    """
    configuration = root / "etc" / "qemu.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    if not configuration.exists():
        configuration.write_text(CONFIGURATION)
    return f"qemu:///embed?root={quote(str(_shortened(root.resolve())))}"


def root_of(uri: str) -> Path | None:
    """The directory in such a URI; None for any other."""
    root = parse_qs(urlsplit(uri).query).get("root")
    return Path(root[0]) if is_embedded(uri) and root else None


def purge(root: Path) -> list[str]:
    """End and forget every guest there, from a process that has no other directory open.

    :returns: the names of the domains that were there
    :raises HypervisorError: another process has the directory open
    """
    connection = Connection(prepare(root), PURGE_SECONDS, lambda _line: None)

    def work(conn: Any) -> list[str]:
        names = [domain.name() for domain in conn.listAllDomains()]
        for name in names:
            remove(conn, name)
        return names

    try:
        return connection.call(work)
    finally:
        connection.close()
        _link(root.resolve()).unlink(missing_ok=True)


def _link(root: Path) -> Path:
    return LINKS / f"paddock-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"


def _shortened(root: Path) -> Path:
    if len(str(root)) <= LONGEST_ROOT:
        return root
    link = _link(root)
    if not (link.is_symlink() and link.readlink() == root):
        link.unlink(missing_ok=True)
        link.symlink_to(root)
    return link
