"""libvirt's QEMU driver inside this process, for root on a machine without a libvirt daemon.

Guests outlive the process, also when it is killed: the next one that opens the same directory
has them again. Only one process at a time can, and a process can open only one directory.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

CONFIGURATION = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
"""


def prepare(root: Path) -> str:
    """Write the driver's configuration, if there is none, and return the URI.

    :param root: the driver's own directory; its path is short, as sockets lie below it
    """
    configuration = root / "etc" / "qemu.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    if not configuration.exists():
        configuration.write_text(CONFIGURATION)
    return f"qemu:///embed?root={quote(str(root))}"
