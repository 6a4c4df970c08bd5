"""Debian packages: what each purpose needs, what is missing, and its installation.

Runs on the standard library alone, because it is needed before the virtual environment is there.
"""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

from devstack.guest import tools as guest
from devstack.say import last_line, say, step

LIBVIRT_HEADERS = ("libvirt-dev", "pkg-config", "gcc", "libc6-dev")
HYPERVISOR = (
    *LIBVIRT_HEADERS,
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",  # makes the user that the QEMU driver looks up, even as root
    "libvirt0",
    "qemu-system-x86",
    "qemu-utils",
    "dnsmasq-base",
    "dnsmasq-utils",
    "iproute2",
)
HOSTS = ("libvirt-clients", "util-linux", "hostname")

UNIT = ("git", "qemu-utils")

PURPOSES = {
    "unit": UNIT,
    "embedded": (*HYPERVISOR, *guest.PACKAGES),
    "multihost": (*HYPERVISOR, *guest.PACKAGES, *HOSTS, "rabbitmq-server", "postgresql"),
    "tests": (
        *UNIT,
        *HYPERVISOR,
        *guest.PACKAGES,
        *HOSTS,
        "rabbitmq-server",
        "postgresql",
        "mariadb-server-core",
        "mariadb-client-core",
    ),
}

INSTALL = ("install", "--yes", "--no-install-recommends")
NOTHING_STARTS = """
for tool in /usr/bin/deb-systemd-invoke /usr/sbin/invoke-rc.d; do
    [ ! -e "$tool" ] || mount --bind /bin/true "$tool" || exit 1
done
exec "$@"
"""


class CannotInstall(Exception):
    """Debian packages are missing and cannot be installed here; the text says why."""


def needed(purpose: str) -> list[str]:
    """The packages for a purpose (a key of PURPOSES), and Python's headers to build with."""
    wanted = set(PURPOSES[purpose])
    if wanted.issuperset(LIBVIRT_HEADERS) and not _has_python_headers():
        wanted.add("python3-dev")
    return sorted(wanted)


def can_build_libvirt() -> bool:
    """Whether pip can build libvirt's Python binding, a source package, here."""
    if not all(map(shutil.which, ("cc", "pkg-config"))) or not _has_python_headers():
        return False
    return subprocess.run(["pkg-config", "--exists", "libvirt"], check=False).returncode == 0


def _has_python_headers() -> bool:
    return Path(sysconfig.get_path("include"), "Python.h").exists()


def obstacle() -> str:
    """Why packages cannot be installed on this machine, in one line; empty when they can."""
    if not all(shutil.which(tool) for tool in ("apt-get", "dpkg-query")):
        return "this is not a Debian machine"
    if os.geteuid() != 0:
        return "only root may install packages"
    return ""


def missing(names: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed."""
    wanted = list(names)
    if not shutil.which("dpkg-query"):
        return wanted
    listing = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    present = {
        line.split()[0] for line in listing.stdout.splitlines() if line.endswith(" installed")
    }
    return [name for name in wanted if name not in present]


def install(names: Iterable[str]) -> None:
    """Install what is missing of the packages, after naming it; no service is started by it.

    :raises CannotInstall: when not root, not on Debian, or apt-get fails.
    """
    absent = missing(names)
    if not absent:
        return
    listing = " ".join(absent)
    if reason := obstacle():
        raise CannotInstall(f"{reason}; these packages are missing: {listing}")
    say(f"Installing Debian packages: {listing}")
    if not _known(absent):
        _update()
    try:
        _apt("Installing packages", [*INSTALL, *absent])
    except CannotInstall:
        _update()  # the lists named versions that the mirror no longer has
        _apt("Installing packages", [*INSTALL, *absent])


def _update() -> None:
    _apt("Reading Debian's package lists", ["update"])


def _known(names: list[str]) -> bool:
    shown = subprocess.run(["apt-cache", "show", *names], capture_output=True, check=False)
    return shown.returncode == 0


def _apt(title: str, arguments: list[str]) -> None:
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with tempfile.NamedTemporaryFile(prefix="paddock-apt-", suffix=".log") as log:
        path = Path(log.name)
        with step(title, lambda: last_line(path)):
            done = subprocess.run(
                _without_services(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                check=False,
            )
        if done.returncode != 0:
            tail = "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            raise CannotInstall(f"apt-get {arguments[0]} failed:\n{tail}")


def _without_services(command: list[str]) -> list[str]:
    """Let the command run where the two programs that start services do nothing.

    Both are covered in a mount namespace of this command's own, so nothing on the machine is
    written and nobody else sees it. Where such a namespace is refused, only RUNLEVEL=1 remains.
    """
    trial = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if trial.returncode != 0:
        return command
    return ["unshare", "--mount", "sh", "-c", NOTHING_STARTS, "sh", *command]
