"""The command line of `stack.sh`, `test.sh` and `paddock`.

Each command imports what it needs when it runs: `down` has to work without the virtual environment,
and what cannot be done is refused before that is made.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from devstack.network import MOST_HOSTS
from devstack.place import Place, StackFailed, api_port, forced_driver, require_free_port, written
from devstack.processes import STARTING, Registry
from devstack.rings import LONG, RINGS
from devstack.say import complain, say

ROLE_OF_PROFILE = {"embedded": "embedded", "multihost": "api"}
FEWEST_HOSTS = 2


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line as a namespace with `command` and that command's options."""
    own = Path(sys.argv[0]).name == "paddock"
    parser = argparse.ArgumentParser(
        prog="paddock" if own else "stack.sh",
        description="A whole Paddock cloud on this machine, under .paddock/.",
    )
    commands = parser.add_subparsers(dest="command")
    if own:
        commands.add_parser("drain", help="empty a host of any cloud: paddock drain --help")
    commands.add_parser("embedded", help="one process and a demo (what no command means, too)")
    commands.add_parser("up", help="embedded, without the demo")
    multihost = commands.add_parser(
        "multihost", help="RabbitMQ, PostgreSQL, namespaced hosts and a demo (root)"
    )
    multihost.add_argument("--hosts", type=_hosts, default=3, metavar="N", help="how many; 3")
    status = commands.add_parser("status", help="processes, hosts and their heartbeats")
    status.add_argument("--json", action="store_true", help="for programs")
    down = commands.add_parser("down", help="stop and remove all that was started")
    down.add_argument("--purge", action="store_true", help="remove .paddock/, too")
    test = commands.add_parser("test", prog="test.sh", help="run the tests")
    test.add_argument(
        "rings", nargs="*", type=_ring, metavar="RING", help=f"{', '.join(RINGS)} (all), {LONG}"
    )
    return parser.parse_args(list(arguments) or ["embedded"])


def _hosts(text: str) -> int:
    if not (text.isascii() and text.isdigit() and FEWEST_HOSTS <= int(text) <= MOST_HOSTS):
        raise argparse.ArgumentTypeError(f"must be {FEWEST_HOSTS} to {MOST_HOSTS}, not {text!r}")
    return int(text)


def _ring(text: str) -> str:
    if text not in (*RINGS, LONG):
        raise argparse.ArgumentTypeError(
            f"there is no test ring {text}, only {', '.join((*RINGS, LONG))}"
        )
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is non-zero when it did not do what it says."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["drain"]:  # of any cloud, whatever is in this directory
        from paddock.cli.cmd import main as administer

        return administer(given[1:])
    options = parse(given)
    return guarded(lambda: run(options, Place()))


def guarded(command: Callable[[], int]) -> int:
    """The command's exit status; a failure is told in plain words, and its status is 1."""
    try:
        return command()
    except KeyboardInterrupt:
        complain("Interrupted; ./devstack/stack.sh down removes what was started.")
        return 130
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as failure:
        complain("\n".join([str(failure), *getattr(failure, "__notes__", [])]))
        return 1


def run(options: argparse.Namespace, place: Place) -> int:
    """Run the command that `parse` read."""
    if options.command == "down":
        from devstack.teardown import take_down

        take_down(place.directory, purge=options.purge)
        return 0
    if options.command == "status":
        from devstack.status import show

        return show(place.directory, as_json=options.json)
    if options.command == "test":
        from devstack.rings import run_rings

        return run_rings(options.rings)
    return _bring_up(options, place)


def refuse(options: argparse.Namespace, place: Place) -> None:
    """See that a cloud can be started here; anything may be done about the other commands.

    :raises StackFailed: it cannot; the text is one sentence
    """
    if options.command in ("status", "down", "test"):
        return
    profile = _profile(options)
    other = "embedded" if profile == "multihost" else "multihost"
    registry = Registry(place.directory)
    if registry.find(ROLE_OF_PROFILE[other]):
        raise StackFailed(
            f"the {other} cloud of this checkout is running; ./devstack/stack.sh down ends it"
        )
    beside = registry.find(STARTING)
    if beside and beside.pid != os.getpid():
        raise StackFailed(
            f"process {beside.pid} is starting this checkout's cloud; ./devstack/stack.sh down "
            "ends it"
        )
    if profile == "multihost" and os.geteuid() != 0:
        raise StackFailed("multihost needs root: it makes namespaces and bridges")
    forced_driver()
    api_port()
    if registry.find(ROLE_OF_PROFILE[profile]) is None:
        require_free_port()


def _profile(options: argparse.Namespace) -> str:
    return "multihost" if options.command == "multihost" else "embedded"


def _bring_up(options: argparse.Namespace, place: Place) -> int:
    """Start a profile and show the demo on it; one profile at a time."""
    from devstack.api import Api
    from devstack.demo import Demo

    refuse(options, place)
    try:
        cache = str(place.directory / "cache")  # where libraries keep what they find out
        with Registry(place.directory).enrolled(STARTING, XDG_CACHE_HOME=cache):
            _start(options, place)
    except Exception as failure:
        failure.add_note(f"Logs: {place.directory}/log")
        failure.add_note("./devstack/stack.sh down removes what was started.")
        raise
    if options.command == "up":
        say(f"API: {Api(place.clouds, 'paddock-demo').url}\nUsers: {written(place.clouds)}")
        return 0
    return 0 if Demo(place, pings=options.command == "multihost").run() else 1


def _start(options: argparse.Namespace, place: Place) -> None:
    if _profile(options) == "multihost":
        from devstack.multihost import Multihost

        Multihost(place, options.hosts).start()
    else:
        from devstack.embedded import Embedded

        Embedded(place).start()
