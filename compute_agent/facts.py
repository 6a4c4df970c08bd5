"""The hypervisor's facts, kept at hand so that a slow hypervisor never delays a heartbeat."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from compute_agent.drivers.base import Driver
from compute_agent.epoch import Identity
from compute_agent.keeping import keep, kept
from paddock.actions import Seen
from paddock.certificates import CERTIFICATES_END, first_end
from paddock.errors import PaddockError
from paddock.records import HostFacts, Resources
from paddock.service import Timer

LOG = logging.getLogger(__name__)
SILENT_SECONDS = 30.0


class Facts(Timer):
    """Connects the driver once the cloud is known, and asks it again and again.

    :param on_change: what the driver calls when a guest changes by itself
    :param file: keeps the facts over restarts, since other hosts may use them meanwhile
    :param interval: seconds between questions
    :param certificates: files whose first end is told, too, in ``extra``
    :ivar connected: whether the hypervisor has answered
    :ivar on_connect: called once, when it answers first
    """

    def __init__(
        self,
        identity: Identity,
        driver: Driver,
        on_change: Callable[[str, Seen], None],
        file: Path,
        interval: float,
        certificates: Sequence[Path] = (),
    ) -> None:
        super().__init__(self._ask, interval, "facts")
        self._identity = identity
        self._driver = driver
        self._on_change = on_change
        self._opened = False
        self.connected = False
        self._asked = time.monotonic()
        self._file = file
        self._certificates = certificates
        self._latest = kept(file, HostFacts) or _nothing()
        self.on_connect: Callable[[], object] = lambda: None

    def latest(self) -> HostFacts:
        """The last answer, also a former process's; no resources before the first of all.

        ``extra`` says when it is old.
        """
        silent = time.monotonic() - self._asked
        if silent < SILENT_SECONDS:
            return self._latest
        extra = self._latest.extra | {"hypervisor_silent_for": int(silent)}
        return msgspec.structs.replace(self._latest, extra=extra)

    def _ask(self) -> None:
        if not self._identity.cloud_id:
            return
        try:
            self._refresh()
        except PaddockError as error:
            LOG.warning("The hypervisor does not answer: %s", error)

    def _refresh(self) -> None:
        if not self._opened:
            self._driver.connect(self._identity.cloud_id, self._on_change)
            self._opened = True
        self._keep(self._with_end(self._driver.facts()))
        self._asked = time.monotonic()
        if not self.connected:
            self.connected = True
            self.on_connect()

    def _with_end(self, facts: HostFacts) -> HostFacts:
        end = first_end(self._certificates)
        if end is None:
            return facts
        extra = facts.extra | {CERTIFICATES_END: end.isoformat()}
        return msgspec.structs.replace(facts, extra=extra)

    def _keep(self, facts: HostFacts) -> None:
        before, self._latest = self._latest, facts
        if msgspec.structs.replace(before, uptime=facts.uptime) == facts:
            return
        keep(self._file, facts)


def _nothing() -> HostFacts:
    resources = Resources(vcpus=0, memory_mb=0, disk_gb=0)
    return HostFacts(resources=resources, capabilities=[], version=version("paddock"))
