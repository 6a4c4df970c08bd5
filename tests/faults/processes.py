"""Processes that die, are ended or stand still."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from devstack.processes import KILL_SECONDS, family, is_running, wait_until
from tests.faults.fault import AGENTS, CONDUCTOR_PROCESSES, HOSTS, OfProcess

PARTS = (*AGENTS, *CONDUCTOR_PROCESSES, "api")
LIBVIRTDS = tuple(f"libvirtd-{name}" for name in HOSTS)


class _Kill(OfProcess):
    def _hit(self) -> None:
        self.cloud.signal(self.subject, signal.SIGKILL)
        self.cloud.await_end(self.subject)


class KillAgent(_Kill):
    """kill -9 of an agent, which is started again at once."""

    subjects = AGENTS


class KillAgentForLong(_Kill):
    """kill -9 of an agent that stays away until its host is thought dead."""

    subjects = AGENTS
    usual = 60.0
    down = True


class KillConductor(_Kill):
    """kill -9 of one of two conductors."""

    subjects = CONDUCTOR_PROCESSES
    usual = 10.0
    down = True


class KillApi(_Kill):
    """kill -9 of the API and all its workers."""

    subjects = ("api",)

    def _hit(self) -> None:
        if record := self.cloud.process(self.subject):
            kill(family(record.pid))


class KillApiWorker(OfProcess):
    """kill -9 of one of the processes that serve the API."""

    subjects = ("api",)

    def _hit(self) -> None:
        if record := self.cloud.process(self.subject):
            kill(family(record.pid)[1:2])


def kill(pids: Sequence[int]) -> None:
    """kill -9, and wait until they are gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in pids), KILL_SECONDS)


class KillBroker(_Kill):
    """kill -9 of RabbitMQ."""

    subjects = ("rabbitmq",)
    usual = 5.0
    down = True


class KillDatabase(_Kill):
    """kill -9 of PostgreSQL."""

    subjects = ("postgres",)
    usual = 5.0
    down = True


class _OfLibvirtd(OfProcess):
    subjects = LIBVIRTDS
    drivers = ("libvirt",)

    @property
    def part(self) -> str:
        return self.subject.removeprefix("libvirtd-")


class KillLibvirtd(_OfLibvirtd, _Kill):
    """kill -9 of a host's libvirtd; its guests run on."""


class _Terminate(OfProcess):
    limit = 30.0

    def _hit(self) -> None:
        record = self.cloud.process(self.subject)
        if record is None:
            return
        os.kill(record.pid, signal.SIGTERM)
        if not wait_until(lambda: not self.cloud.registry.alive(record), self.limit):
            raise RuntimeError(f"{self.subject} did not end within {self.limit:.0f} s of SIGTERM")


class Terminate(_Terminate):
    """SIGTERM of an agent, a conductor or the API: it ends in order and in time."""

    subjects = PARTS


class TerminateLibvirtd(_OfLibvirtd, _Terminate):
    """SIGTERM of a host's libvirtd, which is started again; its guests run on."""


class TerminateBroker(OfProcess):
    """SIGTERM of RabbitMQ, which ends in order and is started again."""

    subjects = ("rabbitmq",)

    def _hit(self) -> None:
        with self.cloud.keepers[self.subject].held():
            if record := self.cloud.process(self.subject):
                self.cloud.registry.stop(record, 30.0)


class DrainDatabase(OfProcess):
    """SIGTERM of PostgreSQL: it serves who is connected and refuses all others; then it ends."""

    subjects = ("postgres",)
    usual = 20.0
    down = True

    def _hit(self) -> None:
        self.cloud.signal(self.subject, signal.SIGTERM)

    def heal(self) -> None:
        self.cloud.signal(self.subject, signal.SIGINT)
        self.cloud.await_end(self.subject)
        super().heal()


class TerminateDatabase(OfProcess):
    """SIGINT of PostgreSQL: it breaks all connections, ends in order and is started again."""

    subjects = ("postgres",)
    usual = 5.0
    down = True

    def _hit(self) -> None:
        self.cloud.signal(self.subject, signal.SIGINT)
        self.cloud.await_end(self.subject)


class _Freeze(OfProcess):
    """SIGSTOP of a process and all its children."""

    usual = 60.0

    def _hit(self) -> None:
        record = self.cloud.process(self.subject)
        self.pids = family(record.pid) if record else []
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def heal(self) -> None:
        for pid in filter(is_running, self.pids):
            os.kill(pid, signal.SIGCONT)
        super().heal()


class FreezeAgent(_Freeze):
    """SIGSTOP of an agent for longer than its lease."""

    subjects = AGENTS


class FreezeConductor(_Freeze):
    """SIGSTOP of one of two conductors; calls to it go unanswered."""

    subjects = CONDUCTOR_PROCESSES


class FreezeBroker(_Freeze):
    """RabbitMQ takes connections and says nothing: for everybody, broker away, database there."""

    subjects = ("rabbitmq",)
    usual = 20.0


class FreezeDatabase(_Freeze):
    """PostgreSQL takes connections and says nothing: broker there, database away."""

    subjects = ("postgres",)
    usual = 20.0
