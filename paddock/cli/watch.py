"""Following a drain until it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from paddock.cli import tables
from paddock.cli.cloud import Document
from paddock.cli.drains import ENDED
from paddock.cli.failure import CloudAway

PATIENCE_SECONDS = 300.0
"""So long a cloud may be away while it is watched; the drain goes on all the same."""
SHOWN = 20
FIRST = ("moving", "planned", "done")
Say = Callable[[str], None]


class Display(Protocol):
    """Where a drain is shown."""

    def begin(self) -> None:
        """Before the first look."""

    def show(self, drain: Document) -> None:
        """The drain as it is now."""

    def trouble(self, sentence: str) -> None:
        """Why there is no newer look."""

    def end(self) -> None:
        """After the last look."""


class Watch:
    """Looks at a drain again and again.

    :param look: gives the drain
    :param interval: seconds between looks
    :param sleep: waits for so many seconds
    :param clock: seconds that only grow
    """

    def __init__(
        self, look: Callable[[], Document], interval: float,
        sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._look = look
        self._interval = interval
        self._sleep = sleep
        self._clock = clock

    def follow(self, display: Display) -> Document:
        """The drain once it has ended.

        :raises CloudAway: for so long that it is not waited for
        :raises CommandFailed: it cannot be looked at
        """
        display.begin()
        since: float | None = None
        try:
            while True:
                pause = self._interval
                try:
                    drain = self._look()
                except CloudAway as error:
                    now = self._clock()
                    since = now if since is None else since
                    pause = min(pause, since + PATIENCE_SECONDS - now)
                    if pause <= 0:
                        raise
                    display.trouble(str(error))
                else:
                    since = None
                    display.show(drain)
                    if drain["status"] in ENDED:
                        return drain
                self._sleep(pause)
        finally:
            display.end()


class Lines:
    """A line for each change, for logs and pipes."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._status = ""
        self._machines: dict[str, tuple[object, ...]] = {}
        self._trouble = ""

    def begin(self) -> None:
        """Nothing is said before there is something to say."""

    def show(self, drain: Document) -> None:
        """What has changed."""
        self._trouble = ""
        if drain["status"] != self._status and not drain["finished_at"]:
            self._note(drain)
        for one in drain["machines"]:
            now = (one["status"], one["verdict"], one["target"], one["reason"])
            known = self._machines.get(one["id"], ("planned", None, one["target"], one["reason"]))
            self._machines[one["id"]] = now
            if now != known:
                self._say(self.of_machine(drain, one))
        if drain["status"] != self._status:
            self._note(drain)

    def _note(self, drain: Document) -> None:
        self._status = drain["status"]
        self._say(self.of_drain(drain))

    def trouble(self, sentence: str) -> None:
        """Said once."""
        if sentence != self._trouble:
            self._say(self.of_trouble(sentence))
        self._trouble = sentence

    def end(self) -> None:
        """There is nothing to take away."""

    def of_drain(self, drain: Document) -> str:
        """The line of a drain whose status is another one."""
        return tables.summary(drain)

    def of_machine(self, _drain: Document, machine: Document) -> str:
        """The line of a machine of which something has changed."""
        return tables.machine(machine)

    def of_trouble(self, sentence: str) -> str:
        """The line that says why there is no newer look."""
        return sentence


class JsonLines(Lines):
    """A JSON document for each change, one a line."""

    def of_drain(self, drain: Document) -> str:
        """The drain without its machines."""
        brief = {name: value for name, value in drain.items() if name not in ("plan", "machines")}
        return json.dumps({"drain": brief})

    def of_machine(self, drain: Document, machine: Document) -> str:
        """The machine, and whose it is."""
        return json.dumps({"drain_id": drain["id"], "machine": machine})

    def of_trouble(self, sentence: str) -> str:
        """The sentence."""
        return json.dumps({"trouble": sentence})


class Screen:
    """A picture on a terminal that is drawn anew with each look."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._trouble = ""

    def begin(self) -> None:
        """Take the lines that it needs."""
        self._live.start()

    def show(self, drain: Document) -> None:
        """Draw it anew."""
        self._live.update(picture(drain), refresh=True)

    def trouble(self, sentence: str) -> None:
        """Below the last picture there is."""
        self._live.console.print(
            sentence, style="yellow", markup=False, emoji=False, highlight=False
        )

    def end(self) -> None:
        """Leave the last picture where it is."""
        self._live.stop()


def picture(drain: Document) -> Group:
    """A drain's progress in total and of each machine, those first that move."""
    machines = sorted(drain["machines"], key=lambda one: FIRST.index(one["status"]))
    done = sum(100 if one["status"] == "done" else one["progress"] for one in machines)
    table = Table(box=None, pad_edge=False)
    for name in ("machine", "to", "", "state", "took", ""):
        table.add_column(name, no_wrap=bool(name))
    for one in machines[:SHOWN]:
        bar = ProgressBar(100, one["progress"], width=20)
        took = tables.seconds(one["seconds"])
        state = Text(one["verdict"] or one["status"])
        target = Text(one["target"] or "-")
        table.add_row(Text(one["name"]), target, bar, state, took, Text(one["reason"] or ""))
    more = len(machines) - SHOWN
    return Group(
        Text(tables.summary(drain)),
        ProgressBar(max(100 * len(machines), 1), done, width=60),
        table,
        *([Text(f"and {more} more")] if more > 0 else []),
    )
