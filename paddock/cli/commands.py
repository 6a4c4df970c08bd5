"""What each command does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from rich.console import Console

from paddock.cli import tables
from paddock.cli.cloud import Document
from paddock.cli.drains import Drains, is_well
from paddock.cli.watch import Display, JsonLines, Lines, Screen, Watch

DONE, FAILED, INTERRUPTED = 0, 1, 130
WISHES = ("host", "reason", "strategy", "max_parallel", "target_zone", "exclude", "deadline")
FILTERS = ("host", "status")


class Commands:
    """One command line on a cloud's drains; each command gives its exit status."""

    def __init__(self, drains: Drains, options: argparse.Namespace) -> None:
        self._drains = drains
        self._options = options

    def choose(self) -> Callable[[], int]:
        """The command that the line names."""
        own: dict[str, Callable[[], int]] = {
            "plan": self.plan, "start": self.start, "list": self.list, "show": self.show,
            "watch": self.watch,
        }  # fmt: skip
        return own.get(self._options.verb, self.steer)

    def plan(self) -> int:
        """What would happen."""
        return self._print(self._drains.create(self._wishes() | {"dry_run": True}), tables.plan)

    def start(self) -> int:
        """Begin with a drain."""
        drain = self._drains.create(self._wishes())
        if not self._options.watch:
            return self._print(drain, tables.show)
        return self._follow(str(drain["id"]))

    def list(self) -> int:
        """All drains."""
        named = {name: getattr(self._options, name) for name in FILTERS}
        found = self._drains.list(**{name: value for name, value in named.items() if value})
        self._say(json.dumps(found) if self._options.json else tables.listing(found))
        return DONE

    def show(self) -> int:
        """One drain."""
        return self._print(self._drains.get(self._named()), tables.show)

    def watch(self) -> int:
        """One drain until it ends."""
        return self._follow(self._named())

    def steer(self) -> int:
        """Change a drain's course."""
        verb = self._options.verb
        params = {"reopen": not self._options.keep_closed} if verb == "cancel" else None
        return self._print(self._drains.steer(self._named(), verb, params), tables.summary)

    def _wishes(self) -> Document:
        named = {name: getattr(self._options, name) for name in WISHES}
        return {name: value for name, value in named.items() if value is not None}

    def _named(self) -> str:
        return self._drains.find(self._options.drain)

    def _follow(self, drain_id: str) -> int:
        watch = Watch(lambda: self._drains.get(drain_id), self._options.interval)
        try:
            return DONE if is_well(watch.follow(self._display())) else FAILED
        except KeyboardInterrupt:
            print(f"\nThe drain goes on; paddock drain watch {drain_id} follows it again.",
                  file=sys.stderr, flush=True)  # fmt: skip
            return INTERRUPTED

    def _display(self) -> Display:
        if self._options.json:
            return JsonLines(self._say)
        console = Console()
        return Screen(console) if console.is_terminal else Lines(self._say)

    def _print(self, drain: Document, text: Callable[[Document], str]) -> int:
        self._say(json.dumps(drain) if self._options.json else text(drain))
        return DONE

    @staticmethod
    def _say(text: str) -> None:
        print(text, flush=True)
