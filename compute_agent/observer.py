"""Tells the conductor what idle instances look like: at the hypervisor's word, and periodically."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection

from compute_agent.memory import Known
from compute_agent.watcher import Around, Watcher
from paddock.actions import Seen
from paddock.errors import PaddockError
from paddock.logs import carried
from paddock.records import Found, Observation
from paddock.runtime import Handover

LOG = logging.getLogger(__name__)
FULL_EVERY = 6
ALL = ""
"""Stands for every instance where the id of one may stand."""


class Observer(Watcher):
    """Looks at guests in a thread of its own.

    What was told and did not change is told again only at every sixth periodic look.

    :param interval: seconds between looks at all guests
    """

    def __init__(self, around: Around, interval: float) -> None:
        super().__init__(around)
        self._interval = interval
        self._told: dict[str, Observation] = {}
        self._looks = 0
        self._news: Handover[str] = Handover()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=carried(self._run), name="observer", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Look no more."""
        self._stopping.set()
        self._news.close()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def on_change(self, instance_id: str, seen: Seen) -> None:  # noqa: ARG002 (looked at anew)
        """A guest changed by itself; may be called from any thread."""
        self._news.put(instance_id)

    def tell_all(self, sent_at: float) -> None:  # noqa: ARG002 (an order's, which is obeyed always)
        """Tell of every instance at the next look, which comes at once."""
        self._news.put(ALL)

    def look(self, only: Collection[str] = (ALL,)) -> None:
        """Tell what idle instances look like.

        :param only: the ids of some
        """
        if not self._lease.is_valid():
            return
        # Read before looking, so that an action in between makes the observation's id too old.
        known = self._memory.snapshot()
        # After that, so that what was seen of an action that ends meanwhile is not told either.
        busy = self._slots.taken()
        found = self._driver.found()
        busy |= self._slots.taken()
        seen = [
            observe(one, known.get(one.instance_id))
            for one in found
            if not {ALL, one.instance_id}.isdisjoint(only) and one.instance_id not in busy
        ]
        news = [one for one in seen if self._told.get(one.instance_id) != one]
        if news:
            self._conductor.report(self._identity.host, self._identity.epoch, news)
        if ALL in only:
            self._told = {}
        self._told |= {one.instance_id: one for one in seen}

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while not self._stopping.is_set():
            changed = self._hear(max(due - time.monotonic(), 0.0))
            if self._stopping.is_set():
                return
            if not changed:
                due = time.monotonic() + self._interval
                self._looks += 1
            if ALL in changed or (not changed and self._looks % FULL_EVERY == 0):
                self._told = {}
            self._try(changed or {ALL})

    def _hear(self, timeout: float) -> set[str]:
        """What changed, all that waits at once: each look is one at every guest."""
        changed: set[str] = set()
        news = self._news.get(timeout)
        while news is not None:
            changed.add(news)
            news = self._news.get(0.0)
        return changed

    def _try(self, only: Collection[str]) -> None:
        try:
            self.look(only)
        except PaddockError as error:
            LOG.warning("Instances were not observed: %s", error)
        except Exception:
            LOG.exception("Instances were not observed")


def observe(found: Found, known: Known | None) -> Observation:
    """What to tell of an instance, with the last action that this agent knows of."""
    generation = found.generation
    if generation is None:
        generation = known.generation if known else max(found.disks, default=0)
    return Observation(
        instance_id=found.instance_id,
        generation=generation,
        seen=found.seen,
        action_id=known.action_id if known else None,
    )
