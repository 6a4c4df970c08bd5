"""Whole hosts, and their hypervisors."""

from __future__ import annotations

from tests.faults.fault import HOSTS, Fault


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

    def inject(self) -> None:
        self.detail = self.cloud.fleet.hosts[self.subject].kill_guest(self.chance)


class HypervisorHangs(Fault):
    """Calls of a hypervisor hang for ten minutes: other machines and heartbeats must not."""

    subjects = HOSTS
    usual = 60.0

    def inject(self) -> None:
        self._end = self.cloud.fleet.hosts[self.subject].hang(self.chance)

    def heal(self) -> None:
        self._end()
