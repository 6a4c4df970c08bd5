"""Where the parts of a stack lie, and what every profile has in common."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
API_ADDRESS = "127.0.0.1"
API_PORT = 8774
PORT = "PADDOCK_API_PORT"
FORCED = "PADDOCK_HYPERVISOR"
LIVE_MIGRATION = "PADDOCK_LIVE_MIGRATION"


class StackFailed(RuntimeError):
    """The stack did not come up; the text says which part and what it said last."""


@dataclass(frozen=True)
class Place:
    """Paths below a stack's directory: PADDOCK_DIRECTORY, else the checkout's `.paddock`.

    A relative PADDOCK_DIRECTORY is one in the checkout.

    :raises StackFailed: the checkout lies in it, which would be removed with it.
    """

    directory: Path = field(
        default_factory=lambda: CHECKOUT / (os.environ.get("PADDOCK_DIRECTORY") or ".paddock")
    )

    def __post_init__(self) -> None:
        if CHECKOUT.is_relative_to(self.directory.resolve()):
            raise StackFailed(f"PADDOCK_DIRECTORY must not hold the checkout: {self.directory}")

    @property
    def clouds(self) -> Path:
        """The users' credentials."""
        return self.directory / "clouds.yaml"

    @property
    def users(self) -> Path:
        """The users that the database is filled with."""
        return self.directory / "etc" / "users.yaml"

    @property
    def images(self) -> Path:
        """The image store, which all hosts read."""
        return self.directory / "images"

    @property
    def guest(self) -> Path:
        """Where the test guest is built."""
        return self.directory / "guest"

    @property
    def token_key(self) -> Path:
        """The key that signs tokens."""
        return self.directory / "etc" / "token.key"

    @property
    def certificates(self) -> Path:
        """The stack's own certificate authority and what it issued."""
        return self.directory / "certs"

    @property
    def policy(self) -> Path:
        """Overrides of the policy, if there are any."""
        return self.directory / "etc" / "policy.yaml"

    def settings(self, name: str) -> Path:
        """A process's configuration file."""
        return self.directory / "etc" / f"{name}.conf"

    def state(self, name: str) -> Path:
        """A process's own directory; made if need be."""
        path = self.directory / "state" / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path


def written(path: Path) -> str:
    """The path as somebody in the current directory would write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def live_migration() -> bool:
    """Whether the hosts of a multihost cloud are to hand running guests over to each other."""
    return os.environ.get(LIVE_MIGRATION) == "1"


def api_port() -> int:
    """The API's TCP port: PADDOCK_API_PORT, else 8774.

    :raises StackFailed: it is no port.
    """
    wanted = os.environ.get(PORT, str(API_PORT))
    if not (wanted.isascii() and wanted.isdigit() and 0 < int(wanted) < 65536):
        raise StackFailed(f"{PORT} must be a number from 1 to 65535, not {wanted!r}")
    return int(wanted)


def forced_driver() -> str:
    """PADDOCK_HYPERVISOR: `fake`, `libvirt`, or empty for whatever is there.

    :raises StackFailed: it is something else.
    """
    forced = os.environ.get(FORCED, "")
    if forced not in ("", "fake", "libvirt"):
        raise StackFailed(f"{FORCED} must be fake or libvirt, not {forced!r}")
    return forced


def require_free_port() -> None:
    """See that the API can listen.

    :raises StackFailed: another program has the port, or it may not be used.
    """
    port = api_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((API_ADDRESS, port))
        except OSError as error:
            raise StackFailed(
                f"The API cannot listen on port {port} of {API_ADDRESS} ({error.strerror}); "
                f"{PORT}=N chooses another port."
            ) from error


def program(name: str) -> str:
    """The path of a console script in `.venv`."""
    return str(CHECKOUT / ".venv" / "bin" / name)


def zone(number: int, size: int) -> str:
    """The zone of host `number` of `size`: the first two thirds are `az1`, the others `az2`."""
    return "az1" if number <= max(1, 2 * size // 3) else "az2"
