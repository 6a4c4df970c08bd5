"""The command line of `stack.sh`, `test.sh` and `paddock`.

Each command imports what it needs when it runs: `down` has to work without the virtual environment.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devstack.place import Place, StackFailed, written
from devstack.say import say

ROLE_OF_PROFILE = {"embedded": "embedded", "multihost": "api"}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line as a namespace with `command` and that command's options."""
    own = Path(sys.argv[0]).name == "paddock"
    parser = argparse.ArgumentParser(
        prog="paddock" if own else "stack.sh",
        description="A whole Paddock cloud on this machine, under .paddock/.",
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("embedded", help="one process and a demo (what no command means, too)")
    commands.add_parser("up", help="embedded, without the demo")
    multihost = commands.add_parser(
        "multihost", help="RabbitMQ, PostgreSQL, namespaced hosts and a demo (root)"
    )
    multihost.add_argument("--hosts", type=int, default=3, metavar="N", help="how many; 3")
    status = commands.add_parser("status", help="processes, hosts and their heartbeats")
    status.add_argument("--json", action="store_true", help="for programs")
    down = commands.add_parser("down", help="stop and remove all that was started")
    down.add_argument("--purge", action="store_true", help="remove .paddock/, too")
    test = commands.add_parser("test", help="run the tests")
    test.add_argument(
        "rings", nargs="*", metavar="RING", help="unit, simulation, ...; all but long"
    )
    return parser.parse_args(list(arguments) or ["embedded"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is non-zero when it did not do what it says."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(options, Place())
    except KeyboardInterrupt:
        say("Interrupted; ./devstack/stack.sh down removes what was started.")
        return 130
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as failure:
        say("\n".join([str(failure), *getattr(failure, "__notes__", [])]))
        return 1


def _run(options: argparse.Namespace, place: Place) -> int:
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


def _bring_up(options: argparse.Namespace, place: Place) -> int:
    """Start a profile and show the demo on it; one profile at a time."""
    from devstack.api import Api
    from devstack.demo import Demo

    profile = "multihost" if options.command == "multihost" else "embedded"
    other = "embedded" if profile == "multihost" else "multihost"
    _refuse_beside(other, place)
    try:
        _start(profile, options, place)
    except Exception as failure:
        failure.add_note(f"Logs: {place.directory}/log")
        failure.add_note("./devstack/stack.sh down removes what was started.")
        raise
    if options.command == "up":
        say(f"API: {Api(place.clouds, 'paddock-demo').url}\nUsers: {written(place.clouds)}")
        return 0
    return 0 if Demo(place, pings=profile == "multihost").run() else 1


def _start(profile: str, options: argparse.Namespace, place: Place) -> None:
    if profile == "multihost":
        if os.geteuid() != 0:
            raise StackFailed("multihost needs root: it makes namespaces and bridges")
        from devstack.multihost import Multihost

        Multihost(place, options.hosts).start()
    else:
        from devstack.embedded import Embedded

        Embedded(place).start()


def _refuse_beside(other: str, place: Place) -> None:
    from devstack.processes import Registry

    if Registry(place.directory).find(ROLE_OF_PROFILE[other]):
        raise StackFailed(
            f"the {other} cloud of this checkout is running; ./devstack/stack.sh down ends it"
        )
