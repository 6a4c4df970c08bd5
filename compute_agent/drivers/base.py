"""What an agent may ask of a hypervisor: a mandatory part, and one class per capability.

A driver derives from :class:`Driver` and from the capabilities that it has; what a host can do
is computed from those bases and from what its hypervisor answers. All methods block; the runner
calls them from a worker's thread. Every method is safe to repeat: it looks first and does only
what is missing. Errors are HypervisorError and its kinds, nothing else.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from paddock.actions import Seen
from paddock.records import DiskSource, Found, GuestSpec, HostFacts, Landing


@dataclass(frozen=True)
class Work:
    """A worker's line to the runner during something long.

    :ivar progress: told (done, total) in bytes
    :ivar check: raises WorkCancelled when the work must stop; called at least every second
    """

    progress: Callable[[int, int], None]
    check: Callable[[], None]


UNWATCHED = Work(progress=lambda _done, _total: None, check=lambda: None)


@dataclass(frozen=True)
class Launch:
    """Who launches a guest: written into the domain's metadata before it runs.

    :ivar action_id: the action, kept as ``launched_by``
    :ivar cloud_id: this cloud's uuid; guests of other clouds are never touched
    :ivar disk_generation: names the disk file that the guest runs on
    :ivar may_launch: called last, right before the launch; raises LaunchBarred
    :ivar work: told and asked while the disk is made
    """

    action_id: str
    cloud_id: str
    disk_generation: int
    may_launch: Callable[[], None]
    work: Work = UNWATCHED


class Driver(abc.ABC):
    """The mandatory part."""

    @abc.abstractmethod
    def connect(self, cloud_id: str, on_change: Callable[[str, Seen], None]) -> None:
        """Open the hypervisor, and call ``on_change(instance_id, seen)`` whenever a guest of this
        cloud changes by itself; the callback only notes and returns at once."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the hypervisor; guests go on."""

    @abc.abstractmethod
    def facts(self) -> HostFacts:
        """The host's resources, capabilities and figures; answers in well under a second."""

    @abc.abstractmethod
    def found(self) -> list[Found]:
        """Everything of this cloud on the host: domains in any state, and disk files.

        ``worked_on`` are those whose launch may yet come through, though it has failed as hung.
        """

    @abc.abstractmethod
    def seen(self, instance_id: str) -> Seen:
        """What the guest is now; GONE when there is no domain and no saved memory."""

    def launched_by(self, instance_id: str) -> str | None:
        """The action that launched the guest which is active now; None when none is.

        A start that a former agent began and that goes on is waited for. This asks for
        everything; a driver that can look at one guest alone does so.
        """
        for one in self.found():
            if one.instance_id == instance_id and one.seen in (Seen.RUNNING, Seen.PAUSED):
                return one.launched_by
        return None

    @abc.abstractmethod
    def launch(self, guest: GuestSpec, launch: Launch) -> None:
        """Have the guest running from its disk, making the disk from the image when no disk of
        ``launch.disk_generation`` is there (never when the spec has no image).

        Already running under the same action: nothing to do. Paused: runs on. A domain of an
        older generation or another launch that is not running is replaced. Nothing half-made is
        left when it fails. LaunchBarred, HypervisorError, WorkCancelled while the disk is made.
        """

    @abc.abstractmethod
    def shut_down(self, instance_id: str, wait: float, work: Work) -> None:
        """Ask the guest to shut down, force it after ``wait`` seconds; it is OFF afterwards.

        A paused guest is forced at once, saved memory is thrown away. The definition may stay.
        """

    @abc.abstractmethod
    def release(self, instance_id: str) -> None:
        """Free all that a guest which is off holds but its disks: domain, saved memory, network
        entries. Nothing there: nothing to do."""

    @abc.abstractmethod
    def destroy(self, instance_id: str, below: int | None) -> None:
        """End the guest and remove it with its disks and files.

        :param below: touch only what has a generation below this one; None for all
        """

    @abc.abstractmethod
    def console(self, instance_id: str, length: int | None) -> str:
        """The last ``length`` lines of the guest's serial console, all for None, at most 1 MiB."""


class Pausable(abc.ABC):
    """The guest's processors can be stopped while its memory stays."""

    name: ClassVar[str] = "pause"

    @abc.abstractmethod
    def pause(self, instance_id: str) -> None:
        """Stop the processors. GuestGone when it does not run."""

    @abc.abstractmethod
    def unpause(self, instance_id: str) -> None:
        """Let them go on. GuestGone when it does not run."""


class Suspendable(abc.ABC):
    """The guest's memory can be stored on disk, and the guest goes on from it later."""

    name: ClassVar[str] = "suspend"

    @abc.abstractmethod
    def suspend(self, instance_id: str, work: Work) -> None:
        """Store the memory and free it; SAVED afterwards, also over restarts of host services."""

    @abc.abstractmethod
    def resume(self, guest: GuestSpec, launch: Launch) -> None:
        """Go on where it stopped. GuestGone when there is nothing to go on from."""


class DiskMover(abc.ABC):
    """A guest's disk can be brought here from another host."""

    name: ClassVar[str] = "move"

    @abc.abstractmethod
    def fetch(self, guest: GuestSpec, source: DiskSource, generation: int, work: Work) -> None:
        """Have a verified copy of the source's disk here under ``generation``; sparse stays sparse.

        A partial copy has another name until it is verified, and is removed on failure. A copy
        of this generation that is there already is taken as it is.
        """

    @abc.abstractmethod
    def open_disk(self, instance_id: str, generation: int) -> BinaryIO:
        """A guest's disk here, to be read for another host. HypervisorError when there is none."""


class LiveMigratable(abc.ABC):
    """A guest can go to another host, or come from one, while it runs."""

    name: ClassVar[str] = "live_migration"

    @abc.abstractmethod
    def receive(self, guest: GuestSpec, generation: int, work: Work) -> None:
        """Have all here that a guest needs which comes running: room for its disk under
        ``generation``, its network, what it boots."""

    @abc.abstractmethod
    def send(self, guest: GuestSpec, landing: Landing, launch: Launch) -> None:
        """Have the guest running there, on a disk of ``launch.disk_generation`` with the
        generation after its own, and nothing of it here but its disk.

        Nothing here: it was sent before. Raising anything but GuestHung, it says that the sending
        has ended for good, and the guest was not handed over if it runs here. ``may_launch`` is
        called last, right before the sending begins.
        """

    @abc.abstractmethod
    def arrive(self, guest: GuestSpec) -> None:
        """See that the guest has come with its generation; GuestGone when it has not."""


CAPABILITIES: tuple[
    type[Pausable] | type[Suspendable] | type[DiskMover] | type[LiveMigratable], ...
] = (Pausable, Suspendable, DiskMover, LiveMigratable)


def capabilities_of(driver: Driver) -> list[str]:
    """Names of the capabilities among the driver's bases."""
    return [kind.name for kind in CAPABILITIES if isinstance(driver, kind)]
