"""The benchmark: how fast and how small a cloud is, and how near to the floor.

    .venv/bin/python -m bench.run                       # seven rounds, lists of up to 1,000
    .venv/bin/python -m bench.run --quick               # three rounds, under 3 minutes
    .venv/bin/python -m bench.run --json > run.json
    .venv/bin/python -m bench.run --quick --compare run.json
    .venv/bin/python -m bench.run --parts main eventlet mariadb embedded

Each part starts a cloud of its own on loopback, measures it and removes it:

main      RabbitMQ, PostgreSQL, an API, one conductor, two agents with the fake driver
eventlet  the same processes under PADDOCK_CONCURRENCY=eventlet
mariadb   the same with MariaDB in place of PostgreSQL
embedded  the whole cloud in one process, on SQLite, without a broker

Durations of actions are the ledger's own (finished_at less created_at), rates are from the first
accepted to the last ended of 50. Each figure is the median of its rounds, with the lowest and the
highest. In each round the floor (bench/floor.py) is measured beside the cloud: a pause's messages
and commits with nothing else. `--compare` sets the ratios to the floor against those of a stored
`--json`, and exits with 1 when one got worse by more than its spread.
"""

import argparse
import dataclasses
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from paddock import runtime

runtime.choose()

from bench import floor  # noqa: E402
from bench.cloud import running  # noqa: E402
from bench.compare import compare_runs  # noqa: E402
from bench.counters import SETTINGS  # noqa: E402
from bench.embedded import measure_embedded  # noqa: E402
from bench.figures import Figures  # noqa: E402
from bench.scenario import BEATING, FULL, QUICK, Extent, Scenario, say  # noqa: E402
from paddock.runtime import EVENTLET, VARIABLE  # noqa: E402

CONDUCTORS = ("c1",)
CONTROL = {"api": {"workers": 1}}
ROOM = {"compute": {"vcpus": 1024, "memory_mb": 1 << 20, "disk_gb": 1 << 14}}
"""So much that no boot finds a host full."""


def main_part(extent: Extent, figures: Figures, database: str = "postgresql", **more: Any) -> None:
    """A cloud of processes."""
    say("starting a cloud")
    with running(
        floor.HOSTS, CONTROL, ROOM, BEATING, conductors=CONDUCTORS, database=database,
        database_settings=SETTINGS[database], users=floor.USER, **more,
    ) as cloud:  # fmt: skip
        Scenario(cloud, figures, extent).run()
        say("ending the cloud")


def eventlet_part(extent: Extent, figures: Figures) -> None:
    """The same under green threads."""
    main_part(_main_figures(extent), figures, environment={VARIABLE: EVENTLET})


def mariadb_part(extent: Extent, figures: Figures) -> None:
    """The same on MariaDB."""
    main_part(_main_figures(extent), figures, database="mariadb")


def embedded_part(extent: Extent, figures: Figures) -> None:
    """The cloud in one process."""
    measure_embedded(figures, extent.starts)


PARTS: dict[str, Callable[[Extent, Figures], None]] = {
    "main": main_part, "eventlet": eventlet_part, "mariadb": mariadb_part,
    "embedded": embedded_part,
}  # fmt: skip


def _main_figures(extent: Extent) -> Extent:
    return dataclasses.replace(extent, lists=extent.lists[:1], cold_starts=0, starts=1)


def measure(parts: Sequence[str], extent: Extent) -> dict[str, Any]:
    """Run parts; gives the document that ``--json`` prints."""
    document: dict[str, Any] = {"machine": _machine(), "seconds": {}, "parts": {}}
    for part in parts:
        figures = Figures()
        begun = time.monotonic()
        PARTS[part](extent, figures)
        document["seconds"][part] = round(time.monotonic() - begun)
        document["parts"][part] = figures.document()
    document["machine"]["load after"] = os.getloadavg()[0]
    return document


def _machine() -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "load before": os.getloadavg()[0],
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter lists")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="a stored --json run")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=["main"], metavar="PART",
        help=f"of {', '.join(PARTS)}; main when left out",
    )  # fmt: skip
    return parser.parse_args()


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """What was started is ended by those who started it, as an exception passes them."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _show(document: dict[str, Any]) -> None:
    for part, figures in document["parts"].items():
        print(f"{part}, measured in {document['seconds'][part]} s:")
        print("\n".join(f"  {line}" for line in Figures.read(figures).lines()), flush=True)


def _compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print the changes; gives the exit status."""
    worse = 0
    for part, changes in compare_runs(before, after).items():
        print(f"{part}, by the floor:", file=sys.stderr)
        for change in changes:
            print(f"  {change.line()}", file=sys.stderr)
        worse += sum(change.worse for change in changes)
    return 1 if worse else 0


def main() -> int:
    """Measure and print; gives the exit status."""
    wanted = _parse()
    before = json.loads(wanted.compare.read_text()) if wanted.compare else None
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    document = measure(wanted.parts, QUICK if wanted.quick else FULL)
    if wanted.json:
        print(json.dumps(document, indent=1), flush=True)
    else:
        _show(document)
    return _compare(before, document) if before else 0


if __name__ == "__main__":
    sys.exit(main())
