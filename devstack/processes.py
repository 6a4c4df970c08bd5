"""The processes that a stack started: each is a file, so that a later command can stop them all.

A process is ours when its record's pid still has the recorded start time, or when it carries one of
our marks in its environment (which finds one whose record was never written).
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

MARK = "PADDOCK_STACK_RUN"
HELPER = "PADDOCK_STACK_HELPER"
"""Marks what a command runs to its end while it starts the cloud."""
POLL_SECONDS = 0.05
KILL_SECONDS = 5.0
STARTING = "start"
"""The role of a command that is starting the cloud."""


@dataclass(frozen=True)
class Record:
    """One started process; `started` is in clock ticks since the boot named by `boot`."""

    name: str
    role: str
    host: str
    pid: int
    started: int
    boot: str
    namespace: str
    log: str
    stop_signal: str


def stat_fields(pid: int) -> tuple[str, int] | None:
    """State letter and start time in clock ticks of a process (proc_pid_stat(5)); None if gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return fields[0], int(fields[19])


def boot_id() -> str:
    """The identity of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def all_pids() -> list[int]:
    """Every process of the machine that can be seen."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for one in all_pids():
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(one)
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def wait_until(holds: Callable[[], bool], timeout: float) -> bool:
    """Whether the condition came true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    fields = stat_fields(pid)
    return fields is not None and fields[0] not in "ZX"


def end(pids: Sequence[int], timeout: float = KILL_SECONDS) -> None:
    """SIGTERM, then SIGKILL to what is left after `timeout` seconds; all must be known as ours."""
    started = {pid: _started(pid) for pid in pids}

    def left() -> list[int]:
        return [pid for pid in pids if is_running(pid) and _started(pid) == started[pid]]

    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left():
            _send(pid, number)
        if wait_until(lambda: not left(), timeout):
            return


class Registry:
    """Starts processes in sessions of their own and remembers them under `directory`/run."""

    def __init__(self, directory: Path) -> None:
        self.run = directory.resolve() / "run"
        self.logs = directory.resolve() / "log"
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def spawn(
        self,
        role: str,
        argv: Sequence[str],
        *,
        host: str = "",
        namespace: str = "",
        env: Mapping[str, str] | None = None,
        stop_signal: str = "SIGTERM",
        instance: str = "",
    ) -> Record:
        """Start a process with its own session and log file, and write its record.

        :param role: what it is (`api`, `compute`, `libvirtd`); with host and instance its name.
        :param host: the host that it belongs to, empty for the control plane.
        :param namespace: the network namespace that `argv` enters, for the record only.
        :param env: variables added to this process's own environment.
        :param stop_signal: the signal that asks it to end in order.
        :param instance: tells two processes of one role and host apart.
        """
        name = "-".join(part for part in (role, host, instance) if part)
        self.run.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env={**_without_helper(), **(env or {}), MARK: str(self.run)},
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self._children[child.pid] = child
        started, boot = _started(child.pid), boot_id()
        record = Record(
            name, role, host, child.pid, started, boot, namespace, str(log), stop_signal
        )
        self._write(record)
        return record

    @contextmanager
    def enrolled(self, role: str, **variables: str) -> Iterator[None]:
        """Remember this very process meanwhile, so that it can be stopped, and mark its helpers.

        What ended before (the machine was restarted, say) is forgotten.

        :param variables: what else the environment holds meanwhile.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        for record in self.records():
            if not self.alive(record):
                self._forget(record)
        pid = os.getpid()
        self._write(Record(role, role, "", pid, _started(pid), boot_id(), "", "", "SIGTERM"))
        former = dict(os.environ)
        os.environ.update(variables, **{HELPER: str(self.run)})
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(former)
            (self.run / f"{role}.json").unlink(missing_ok=True)

    def records(self) -> list[Record]:
        """All readable records, in the order in which the processes were started."""
        found = []
        for path in self.run.glob("*.json"):
            try:
                found.append(Record(**json.loads(path.read_text())))
            except FileNotFoundError:  # it has just been stopped
                continue
            except (ValueError, TypeError):
                path.unlink(missing_ok=True)
        return sorted(found, key=lambda record: (record.started, record.pid))

    def find(self, name: str) -> Record | None:
        """The record of that name if its process is alive."""
        alive = (record for record in self.records() if self.alive(record))
        return next((record for record in alive if record.name == name), None)

    def alive(self, record: Record) -> bool:
        """Whether the recorded process, and not a later one with its pid, is running."""
        if child := self._children.get(record.pid):
            child.poll()
        fields = stat_fields(record.pid)
        if record.boot != boot_id() or fields is None or fields[0] in "ZX":
            return False
        return fields[1] == record.started

    def stop(self, record: Record, timeout: float = 10.0) -> bool:
        """Ask the process to end, kill it and its session after `timeout` seconds, forget it.

        :returns: whether it had to be killed.
        """
        killed = False
        if self.alive(record):
            _send(record.pid, signal.Signals[record.stop_signal])
            if not wait_until(lambda: not self.alive(record), timeout):
                killed = True
                _send(record.pid, signal.SIGKILL)
                wait_until(lambda: not self.alive(record), KILL_SECONDS)
        end([pid for pid in self.marked() if _session(pid) == record.pid])
        if child := self._children.pop(record.pid, None):
            child.poll()
        self._forget(record)
        return killed

    def stop_all(self, records: Sequence[Record], timeout: float = 10.0) -> list[str]:
        """Ask all of them at once, kill those that are left after `timeout` seconds, forget them.

        :returns: the names of those that had to be killed.
        """
        for record in records:
            if self.alive(record):
                _send(record.pid, signal.Signals[record.stop_signal])
        wait_until(lambda: not any(map(self.alive, records)), timeout)
        return [record.name for record in records if self.stop(record, timeout=0)]

    def wake(self) -> None:
        """Let those of our processes go on that stand still: they could not even end."""
        recorded = [record.pid for record in self.records() if self.alive(record)]
        for pid in {*recorded, *self.marked()}:
            _send(pid, signal.SIGCONT)

    def marked(self, *marks: str) -> list[int]:
        """Every running process with one of our marks in its environment, recorded or not."""
        wanted = {f"{mark}={self.run}".encode() for mark in marks or (MARK, HELPER)}
        return [pid for pid in all_pids() if pid != os.getpid() and wanted & _environment(pid)]

    def stop_helpers(self) -> None:
        """End what a command that was killed has left half done."""
        end(self.marked(HELPER))

    def stop_strays(self) -> None:
        """End what carries our mark although no record names it."""
        end(self.marked())

    def _forget(self, record: Record) -> None:
        (self.run / f"{record.name}.json").unlink(missing_ok=True)

    def _write(self, record: Record) -> None:
        path = self.run / f"{record.name}.json"
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(record), indent=1))
        draft.replace(path)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _started(pid: int) -> int:
    return (stat_fields(pid) or ("", 0))[1]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _environment(pid: int) -> set[bytes]:
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def _without_helper() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != HELPER}
