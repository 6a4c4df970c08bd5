"""How hypervisors hand a running guest over, by themselves: an agent only begins and ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from paddock.actions import Seen
from paddock.records import GuestSpec
from tests.simulation.machines import Domain, Machine, World
from tests.simulation.scheduler import Scheduler

REQUEST_LOST, REPLY_LOST = "the request was lost", "the reply was lost"


@dataclass(eq=False)
class Sending:
    """A guest on its way from one machine to another.

    :param reaches: whether the two machines reach each other now
    :param pause: gives the seconds until the next phase
    :param generation: of the disk there, and of the guest when it runs there
    :ivar error: why it ended without success; empty for well
    :ivar cancelled: whether it is to end
    """

    scheduler: Scheduler
    world: World
    here: Machine
    there: Machine
    guest: GuestSpec
    action_id: str
    generation: int
    reaches: Callable[[], bool]
    pause: Callable[[], float]
    error: str = ""
    cancelled: bool = False
    done: int = 0
    coming: Domain | None = field(default=None)

    @property
    def key(self) -> str:
        """The guest's id."""
        return self.guest.id

    def begin(self) -> None:
        """The hypervisor has begun."""
        self.here.sending[self.key] = self
        self._then(self._prepare)

    def _then(self, phase: Callable[[], None]) -> None:
        def run() -> None:
            if self.here.sending.get(self.key) is self:
                self.done += 100
                phase()
            else:
                self._forget_coming()  # the sender has lost its power

        self.scheduler.after(self.pause(), run)

    def _prepare(self) -> None:
        """The target has a guest that waits for its memory."""
        key, there = self.key, self.there
        if self._is_hindered() or self.generation not in there.disks.get(key, {}):
            return self._end("it cannot be received")
        if key in there.domains:
            return self._end("there is such a guest already")
        source = self.here.domains[key]
        self.coming = Domain(
            source.generation + 1, Seen.PAUSED, self.action_id, source.cloud_id, self.generation,
            addresses=source.addresses,
        )  # fmt: skip
        there.domains[key] = self.coming
        there.coming.add(key)
        return self._then(self._perform)

    def _perform(self) -> None:
        """All is copied, and the guest stands still here."""
        if self._is_hindered() or not self._waits():
            return self._end("it broke off")
        self.world.write(self.here, self.key)
        self.here.domains[self.key].seen = Seen.PAUSED
        return self._then(self._finish)

    def _finish(self) -> None:
        """The guest runs there."""
        source = self.here.domains.get(self.key)
        if source is None or not self._waits():
            return self._end("it was removed")
        if not self.reaches():
            if self.scheduler.random.random() < 0.5:
                source.seen = Seen.RUNNING
                return self._end(REQUEST_LOST)
            self._run_there(source)
            return self._end(REPLY_LOST)
        self._run_there(source)
        return self._then(self._confirm)

    def _run_there(self, source: Domain) -> None:
        key, coming = self.key, self.coming
        assert coming is not None
        self.world.check_alone(key, self.here, self.there)
        disks = self.there.disks[key]
        disks[self.generation] = self.here.disks.get(key, {}).get(source.disk, -1)
        self.there.coming.discard(key)
        self.coming = None
        coming.seen = Seen.RUNNING
        self.world.write(self.there, key)
        self.there.tell(key, Seen.RUNNING)

    def _confirm(self) -> None:
        """The guest is no longer here."""
        if not self.reaches():
            return self._end(REPLY_LOST)
        self.here.domains.pop(self.key, None)
        self.here.tell(self.key, Seen.GONE)
        return self._end("")

    def _is_hindered(self) -> bool:
        source = self.here.domains.get(self.key)
        runs = source is not None and source.seen is Seen.RUNNING
        return self.cancelled or not runs or not self.reaches() or not self.there.powered

    def _waits(self) -> bool:
        ours = self.there.domains.get(self.key) is self.coming
        return ours and self.generation in self.there.disks.get(self.key, {})

    def _end(self, error: str) -> None:
        self.error = error
        self._forget_coming()
        del self.here.sending[self.key]

    def _forget_coming(self) -> None:
        """The target ends what waits for a sender that it hears no more."""
        if self.coming is not None and self.there.domains.get(self.key) is self.coming:
            del self.there.domains[self.key]
        if self.coming is not None:
            self.there.coming.discard(self.key)
