"""What stack.sh and test.sh run with the system's Python: ``python3 -m devstack.launch ...``.

Refuses what cannot be done before anything is installed, makes `.venv` current where the command
needs it, and goes on in there. It needs the standard library only.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from devstack import venv
from devstack.cmd import guarded, parse, refuse, run
from devstack.place import Place, forced_driver
from devstack.rings import RINGS


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare for a command line of devstack/cmd.py and become it; returns only when it need not.

    `down` and a `status` of nothing need no virtual environment, so they are done here.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(given)
    return guarded(lambda: _launch(options, Place(), given))


def _launch(options: argparse.Namespace, place: Place, arguments: Sequence[str]) -> int:
    if options.command == "down" or (options.command == "status" and not place.clouds.exists()):
        return run(options, place)
    refuse(options, place)
    if options.command != "status" or not venv.STAMP.exists():
        venv.prepare(purpose(options), tests=options.command == "test")
    return _become(arguments)


def _become(arguments: Sequence[str]) -> NoReturn:
    python = str(venv.VENV / "bin" / "python")
    os.execv(python, [python, "-m", "devstack", *arguments])  # noqa: S606 (a list, no shell)


def purpose(options: argparse.Namespace) -> str:
    """What Debian packages the command needs: a key of packages.PURPOSES, or empty for none."""
    if options.command == "test":
        rings = options.rings or RINGS
        wanted = {"integration": "tests", "faults": "tests", "unit": "unit"}
        return next((need for ring, need in wanted.items() if ring in rings), "")
    if options.command == "multihost":
        return "multihost"
    if options.command == "status":
        return ""
    return "" if forced_driver() == "fake" else "embedded"


if __name__ == "__main__":
    sys.exit(main())
