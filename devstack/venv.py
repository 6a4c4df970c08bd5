"""Makes the virtual environment `.venv` and keeps it current.

Runs on the standard library alone, with the system's Python, before anything is installed.
"""

import configparser
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack import packages
from devstack.say import last_line, say, step

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "paddock.stamp"
UNFINISHED = VENV / "paddock.unfinished"


class CannotPrepare(RuntimeError):
    """The virtual environment could not be made; the text says why."""


def prepare(purpose: str, *, tests: bool = False) -> None:
    """Install the purpose's Debian packages where possible, then bring `.venv` up to date.

    :param purpose: a key of packages.PURPOSES, or empty when no Debian packages are wanted.
    :param tests: whether what tests need must be in `.venv`; it stays when it is.
    :raises CannotPrepare: when pip fails.
    """
    with _alone():
        _prepare(purpose, tests)


@contextmanager
def _alone() -> Iterator[None]:
    """Have only one run at a time prepare this checkout; it ends with the process."""
    checkout = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(checkout, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("Waiting for another run that prepares .venv"):
                fcntl.flock(checkout, fcntl.LOCK_EX)
        yield
    finally:
        os.close(checkout)


def _prepare(purpose: str, tests: bool) -> None:
    if purpose:
        _install_packages(purpose)
    if UNFINISHED.exists() or not (VENV / "bin" / "python").exists():
        with step("Making .venv"):
            _make()
    extras = _extras(tests)
    current = _fingerprint(extras)
    if STAMP.exists() and STAMP.read_text() == current:
        return
    say(f"Python packages for .venv: {' '.join(_requirements(extras))}, and what they need")
    with tempfile.NamedTemporaryFile(prefix="paddock-pip-", suffix=".log") as log:
        path = Path(log.name)
        with step("Installing Paddock into .venv", lambda: last_line(path)):
            _run([*_pip(), f".[{','.join(extras)}]" if extras else "."], path)
    STAMP.write_text(current)


def _make() -> None:
    """Make `.venv`, from the beginning when that was interrupted the last time."""
    if UNFINISHED.exists():
        shutil.rmtree(VENV)
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    with tempfile.NamedTemporaryFile(prefix="paddock-venv-", suffix=".log") as log:
        _run([sys.executable, "-m", "venv", str(VENV)], Path(log.name))
    UNFINISHED.unlink()


def _install_packages(purpose: str) -> None:
    try:
        packages.install(packages.needed(purpose))
    except packages.CannotInstall as refusal:
        if purpose == "embedded" and packages.obstacle():
            return  # it says itself what it goes without
        say(f"Going on with what is there: {refusal}")


def _extras(tests: bool) -> list[str]:
    """What is wanted beside the project's own needs, and what is there of it already."""
    there = json.loads(STAMP.read_text())["extras"] if STAMP.exists() else []
    wanted = {"test": tests, "libvirt": packages.can_build_libvirt()}
    return [extra for extra, want in wanted.items() if want or extra in there]


def _requirements(extras: list[str]) -> list[str]:
    """The names of the packages that setup.cfg asks for."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = [setup["options"]["install_requires"]]
    wanted += [setup["options.extras_require"][extra] for extra in extras]
    lines = "\n".join(wanted).split("\n")
    return [line.split(">")[0] for line in lines if line]


def _fingerprint(extras: list[str]) -> str:
    parts = {
        "setup.cfg": hashlib.sha256((ROOT / "setup.cfg").read_bytes()).hexdigest(),
        "extras": extras,
        "python": sys.version,
        "place": str(ROOT),
    }
    return json.dumps(parts, sort_keys=True)


def _pip() -> list[str]:
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    return [str(VENV / "bin" / "python"), "-m", "pip", "install", *quiet, "--editable"]


def _run(command: list[str], log: Path) -> None:
    with log.open("wb") as out:
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if done.returncode != 0:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        raise CannotPrepare("\n".join([f"`{' '.join(command)}` failed:", *tail]))
