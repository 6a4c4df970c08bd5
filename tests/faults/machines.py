"""Whole hosts, and their hypervisors."""

from __future__ import annotations

import signal

import psycopg

from devstack.processes import wait_until
from tests.faults.fault import HOSTS, Fault

GUEST_SECONDS = 20.0
"""Within which some guest runs on a host."""
HEARTBEAT_SECONDS = 45.0
"""Within which a heartbeat comes, also when another fault was to the broker or the database."""


class PowerLoss(Fault):
    """A host loses its power: agent, libvirtd and guests end at once, /run is empty after."""

    subjects = HOSTS
    usual = 20.0

    def inject(self) -> None:
        host = self.cloud.fleet.hosts[self.subject]
        for name in host.starts():
            self.cloud.keepers[name].hold()
        host.lose_power()

    def heal(self) -> None:
        names = list(self.cloud.fleet.hosts[self.subject].starts())
        for name in names:
            self.cloud.keepers[name].release()
        for name in names:
            if not self.cloud.await_running(name):
                raise RuntimeError(f"{name} was not started again")


class KillGuest(Fault):
    """kill -9 of a guest's QEMU."""

    subjects = HOSTS
    number = signal.SIGKILL

    def inject(self) -> None:
        if not wait_until(self._hits, GUEST_SECONDS):
            self.detail, self.missed = "no guest was there", True

    def _hits(self) -> bool:
        host = self.cloud.fleet.hosts[self.subject]
        self.detail = host.signal_guest(self.chance, self.number)
        return bool(self.detail)


class TerminateGuest(KillGuest):
    """SIGTERM of a guest's QEMU."""

    number = signal.SIGTERM


class HypervisorHangs(Fault):
    """Calls of a hypervisor hang for ten minutes: other machines and heartbeats must not."""

    subjects = HOSTS
    usual = 600.0

    def inject(self) -> None:
        self._end = self.cloud.fleet.hosts[self.subject].hang(self.chance)

    def heal(self) -> None:
        try:
            self._await_heartbeat()
        finally:
            self._end()

    def _await_heartbeat(self) -> None:
        first = self._heartbeat()
        if not wait_until(lambda: self._heartbeat() not in (None, first), HEARTBEAT_SECONDS):
            raise RuntimeError(f"the agent of {self.subject} sends no heartbeats meanwhile")

    def _heartbeat(self) -> object:
        """When the host was heard last; None while that cannot be read."""
        try:
            with self.cloud.connect() as connection:
                query = "SELECT last_heartbeat FROM hosts WHERE name = %s"
                (heard,) = connection.execute(query, [self.subject]).fetchone() or (None,)
        except psycopg.Error:
            return None
        return heard
