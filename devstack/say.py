"""What a person at the terminal sees: one line per step and how long it took."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

QUIET_SECONDS = 2.0
REPEAT_SECONDS = 10.0


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Say on the standard error stream what went wrong."""
    print(text, file=sys.stderr, flush=True)


def last_line(path: Path) -> str:
    """The last line of a log, cut to 70 characters; empty while there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 2000))
            lines = log.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:70] for line in reversed(lines) if line.strip()), "")


@contextmanager
def step(title: str, detail: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Announce a step, show that it goes on after two seconds, and say how long it took.

    :param title: what is being done, in a few words.
    :param detail: gives the newest thing to report while the step lasts.
    """
    ended = threading.Event()
    begun = time.monotonic()
    ticker = threading.Thread(target=_tick, args=(title, detail, begun, ended), daemon=True)
    ticker.start()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    finally:
        ended.set()
        ticker.join()
        clear = "\r\033[K" if sys.stdout.isatty() else ""
        say(f"{clear}- {title}: {outcome} {time.monotonic() - begun:.1f} s")


def _tick(title: str, detail: Callable[[], str], begun: float, ended: threading.Event) -> None:
    terminal = sys.stdout.isatty()
    wait = QUIET_SECONDS
    while not ended.wait(wait):
        text = f"  {title}: {time.monotonic() - begun:.0f} s  {detail()}".rstrip()
        if terminal:
            print(f"\r\033[K{text[:100]}", end="", flush=True)
        else:
            say(text)
            wait = REPEAT_SECONDS
