"""Links that are cut, lose packets, or lead to one place and not to another."""

from __future__ import annotations

import subprocess
from abc import abstractmethod

from devstack.control_plane import CONDUCTORS
from tests.faults.cloud import DATABASE_PORT
from tests.faults.fault import HOSTS, Fault

LOSS = 0.25


class _Cut(Fault):
    """A host's link to everything but its own guests."""

    subjects = HOSTS

    def inject(self) -> None:
        self.cloud.fleet.hosts[self.subject].host.cut()

    def heal(self) -> None:
        self.cloud.fleet.hosts[self.subject].host.join()


class CutHostShortly(_Cut):
    """A host is cut off for 5 s: less than its lease."""

    usual = 5.0


class CutHost(_Cut):
    """A host is cut off for 60 s: it is judged dead, and comes back."""

    usual = 60.0


class CutHostForGood(_Cut):
    """A host is cut off, and the cloud has to be well without it; then it comes back."""

    usual = 60.0
    lasting = True


class _Rules(Fault):
    """Rules of netfilter in the subject's own network namespace."""

    @abstractmethod
    def rules(self) -> list[list[str]]:
        """What to append to which chain."""

    def inject(self) -> None:
        for rule in self.rules():
            self._iptables("-A", *rule)

    def heal(self) -> None:
        for rule in self.rules():
            self._iptables("-D", *rule)

    def _iptables(self, *arguments: str) -> None:
        space = f"--net=/run/netns/{self.cloud.namespace(self.subject)}"
        command = ["nsenter", space, "iptables", "-w", "5", *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=20)


class LosePackets(_Rules):
    """A host loses every fourth packet, both ways."""

    subjects = (*HOSTS, *CONDUCTORS)
    usual = 30.0

    @property
    def part(self) -> str:
        return _part(self.subject)

    def rules(self) -> list[list[str]]:
        loss = ["-i", "eth0", "-m", "statistic", "--mode", "random", "--probability", str(LOSS)]
        out = ["-o", *loss[1:]]
        return [["INPUT", *loss, "-j", "DROP"], ["OUTPUT", *out, "-j", "DROP"]]


class _PortAway(_Rules):
    """A conductor's way to one port of the control network."""

    subjects = CONDUCTORS
    usual = 20.0

    @property
    def part(self) -> str:
        return _part(self.subject)

    @abstractmethod
    def port(self) -> int:
        """Which."""

    def rules(self) -> list[list[str]]:
        port = str(self.port())
        return [
            ["OUTPUT", "-p", "tcp", "--dport", port, "-j", "DROP"],
            ["INPUT", "-p", "tcp", "--sport", port, "-j", "DROP"],
        ]


class DatabaseAway(_PortAway):
    """A conductor reaches the broker and not the database."""

    def port(self) -> int:
        return DATABASE_PORT


class BrokerAway(_PortAway):
    """A conductor reaches the database and not the broker."""

    def port(self) -> int:
        return self.cloud.broker.port


def _part(subject: str) -> str:
    return f"conductor-{subject}" if subject in CONDUCTORS else subject
