"""Faults on a real cloud: ``python -m tests.faults.run --seed 1 --rounds 20 --dir DIR``.

Starts a cloud of its own in DIR, asks much of it while parts of it fail, and checks after each
round that nothing was lost, done twice or left stuck. Exits 0 when all held, 1 on a violation, 2
when it could not run and had seen no violation. ``DIR/history.json`` says what happened.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from devstack.ports import free_ports
from devstack.say import say
from devstack.teardown import take_down
from tests.faults.cloud import FaultCloud
from tests.faults.fleet import unmount
from tests.faults.history import History
from tests.faults.load import Load, Rate
from tests.faults.pace import Pace
from tests.faults.rounds import Rounds
from tests.faults.table import Deck, faults

HELD, VIOLATED, FAILED = 0, 1, 2
Opener = Callable[..., AbstractContextManager[Rounds]]
RATES = {
    "fake": Rate(instances=24, think=0.7, warm_up=0.5),
    "libvirt": Rate(instances=7, think=4.0, warm_up=10.0),
}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.faults.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the faults and their order")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dir", type=Path, help="all files lie below it")
    parser.add_argument("--driver", choices=sorted(RATES), default="libvirt",
                        help="fake has no guests, and is quick")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="shorter faults, shorter timeouts")
    parser.add_argument("--only", default="", metavar="NAMES", help="only these kinds of faults")
    parser.add_argument("--keep-going", action="store_true", help="go on after a violation")
    parser.add_argument("--keep", action="store_true", help="leave all of the cloud's files")
    parser.add_argument("--list", action="store_true", help="show the faults and exit")
    return parser


@contextmanager
def running(directory: Path, driver: str, *, quick: bool, keep: bool) -> Iterator[FaultCloud]:
    """A cloud that runs; taken down at the end, also when it fails; its logs stay."""
    place = directory / "cloud"
    unmount(place)  # and what else a run has left that was killed
    take_down(place, purge=True)
    cloud = FaultCloud(place, driver, free_ports(1), Pace(quick))
    try:
        cloud.start()
        yield cloud
    finally:
        cloud.stop_keeping()
        cloud.wake()
        take_down(place)
        unmount(place)
        if not keep:
            shutil.copytree(place / "log", directory / "log", dirs_exist_ok=True)
            shutil.rmtree(place)


@contextmanager
def open_rounds(
    directory: Path,
    seed: int,
    driver: str,
    *,
    quick: bool,
    keep: bool = False,
    only: frozenset[str] = frozenset(),
    history: History | None = None,
) -> Iterator[Rounds]:
    """Rounds on a cloud that runs; at the end it is gone and ``history.json`` is written.

    :param only: names of the kinds of faults, all when empty
    :param history: what happens is put there
    """
    history = history or History(seed, driver)
    with running(directory, driver, quick=quick, keep=keep) as cloud:
        load = Load(cloud.place.clouds, history, RATES[driver], seed)
        rounds = Rounds(cloud, load, history, Deck(cloud, seed, only))
        try:
            yield rounds
            rounds.note_instances()
        finally:
            load.stop()
            load.drain(1.0)
            history.write(directory / "history.json")


def run(arguments: argparse.Namespace, opener: Opener = open_rounds) -> int:
    """Start the cloud and run the rounds; gives the exit status."""
    directory = arguments.dir.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    only = frozenset(filter(None, arguments.only.split(",")))
    history = History(arguments.seed, arguments.driver)
    try:
        with opener(
            directory, arguments.seed, arguments.driver, quick=arguments.quick,
            keep=arguments.keep, only=only, history=history,
        ) as rounds:  # fmt: skip
            for number in range(1, arguments.rounds + 1):
                if rounds.run(number) and not arguments.keep_going:
                    break
        tell(history)
    except KeyboardInterrupt:
        return VIOLATED if history.violations() else FAILED
    except Exception:
        traceback.print_exc()
        return VIOLATED if history.violations() else FAILED
    return VIOLATED if history.violations() else HELD


def tell(history: History) -> None:
    """Say how the rounds went."""
    say(
        f"{len(history.rounds)} rounds, {len(history.requests)} requests, "
        f"{len(history.violations())} violations"
    )
    missed = history.missed()
    for kind, count in history.counts().items():
        without = f", {missed[kind]} of them without effect" if kind in missed else ""
        say(f"    {kind}: {count}{without}")


def main(argv: Sequence[str] | None = None, opener: Opener = open_rounds) -> int:
    """Run what the command line asks for.

    :param opener: opens the rounds, as :func:`open_rounds` does
    """
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.list:
        for kind in faults(arguments.driver):
            say(f"{kind.__name__}: {(kind.__doc__ or '').splitlines()[0]}")
        return HELD
    if arguments.dir is None:
        parser.error("--dir says where all files lie; only --list needs none")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(arguments, opener)
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
