"""``paddock drain ...``: its command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from paddock.cli.failure import CommandFailed

FAILED, INTERRUPTED = 1, 130
STEERING = {
    "pause": "begin no further moves; those that have begun go on",
    "resume": "go on after a pause",
    "cancel": "begin no more moves, and open the host once those are over that have begun",
    "restore": "open the host and bring home the machines that left it",
    "retry": "drain again with what was left or failed",
}
NAMED = "the drain's id, or its host, whose newest drain is meant"


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="paddock drain",
        description="Empty a host, watch that, and bring everything back. Credentials are those "
        "of OpenStack's clients: a cloud of clouds.yaml, or OS_* variables.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--os-cloud", metavar="NAME", help="a cloud of clouds.yaml; OS_CLOUD")
    common.add_argument("--json", action="store_true", help="for programs")
    watched = argparse.ArgumentParser(add_help=False)
    watched.add_argument("--interval", type=_interval, default=1.0, metavar="SECONDS",
                         help="between looks, 0.1 to 3600; 1")  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", required=True)
    plan = verbs.add_parser("plan", parents=[common], help="what would happen; changes nothing")
    start = verbs.add_parser("start", parents=[common, watched], help="begin to empty a host")
    for each in (plan, start):
        _add_wishes(each)
    start.add_argument("--watch", action="store_true", help="and follow it until it ends")
    listing = verbs.add_parser("list", parents=[common], help="all drains, the newest first")
    listing.add_argument("--host")
    listing.add_argument("--status")
    show = verbs.add_parser("show", parents=[common], help="a drain with its machines")
    watch = verbs.add_parser("watch", parents=[common, watched], help="follow it until it ends")
    steered = [verbs.add_parser(verb, parents=[common], help=what)
               for verb, what in STEERING.items()]  # fmt: skip
    for each in (show, watch, *steered):
        each.add_argument("drain", help=NAMED)
    verbs.choices["cancel"].add_argument(
        "--keep-closed", action="store_true", help="leave the host closed for new machines"
    )
    return parser


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host")
    parser.add_argument("--reason", help="what users of its machines are told")
    parser.add_argument("--strategy", help="what becomes of machines that run: auto (the default), "
                        "live, cold or leave")  # fmt: skip
    parser.add_argument("--max-parallel", type=int, metavar="N", help="moves at once; 2")
    parser.add_argument("--target-zone", metavar="ZONE", help="where they go; each its own zone")
    parser.add_argument("--exclude", action="append", metavar="ID",
                        help="a server that stays; may be given again")  # fmt: skip
    parser.add_argument("--deadline", metavar="TIME", help="no move begins after it; ISO 8601")


def _interval(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 3600:
        raise argparse.ArgumentTypeError(f"must be 0.1 to 3600 seconds, not {text!r}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    :return: 0 when what was asked for is so; 1 when not, 2 for a command line that is none
    """
    options = make_parser().parse_args(arguments)
    try:
        return _build(options)()
    except CommandFailed as failure:
        print(failure, file=sys.stderr, flush=True)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on
        sys.stderr.close()
        return FAILED


def _build(options: argparse.Namespace) -> Callable[[], int]:
    """The command with all that it needs, which takes long to load."""
    from paddock.cli.cloud import Cloud
    from paddock.cli.commands import Commands
    from paddock.cli.drains import Drains

    commands = Commands(Drains(Cloud.find(options.os_cloud)), options)
    return commands.choose()
