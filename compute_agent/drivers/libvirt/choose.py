"""Which hypervisor the embedded cloud uses: the first that really starts a guest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from compute_agent.drivers.libvirt import embed
from compute_agent.drivers.libvirt.connection import Connection
from compute_agent.drivers.libvirt.probe import CACHE, Probe
from paddock.errors import HypervisorError

CALL_SECONDS = 30.0
SECONDS = 180.0
MACHINE = "q35"
AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    :ivar uri: None when no hypervisor starts a guest
    :ivar why: what became of each candidate, in one sentence
    """

    uri: str | None
    why: str


def choose(directory: Path) -> Choice:
    """Try a running ``qemu:///system``, then ``qemu:///session`` as a user or ``qemu:///embed`` as
    root, each with a probe guest on a disk below ``directory``.

    It is done in a process of its own, since the embedded driver stays open until its process
    ends and only one process may have it. What was measured on this machine as it is now is not
    measured again.

    :param directory: made when it is not there; the embedded driver's own lies below it
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name, str(directory.resolve())],
            capture_output=True, text=True, timeout=SECONDS, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Choice(None, f"No hypervisor answered within {SECONDS:g} s.")
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or ["nothing"]
        return Choice(None, f"The probe of the hypervisors failed: {said[-1]}")
    return Choice(**json.loads(done.stdout))


def try_all(directory: Path) -> Choice:
    """Do it in this process."""
    found = []
    for uri, cache in _candidates(directory):
        connection = Connection(uri, CALL_SECONDS, lambda _line: None)
        try:
            measured = Probe(connection, directory / "probe", MACHINE).measure(AUTO, cache)
        except HypervisorError as error:
            found.append(f"{uri} cannot be used ({error})")
            continue
        finally:
            connection.close()
        found.append(f"{uri} starts guests by {measured.why}")
        return Choice(uri, "; ".join(found))
    return Choice(None, "; ".join(found))


def _candidates(directory: Path) -> Iterator[tuple[str, Path]]:
    """(URI, file of what was measured) in the order of preference."""
    yield "qemu:///system", directory / f"system-{CACHE}"
    if os.geteuid() == 0:
        root = directory / "embed"
        yield embed.prepare(root), root / CACHE
    else:
        yield "qemu:///session", directory / f"session-{CACHE}"


if __name__ == "__main__":
    print(json.dumps(asdict(try_all(Path(sys.argv[1])))))
