"""A guest that is being handed over, when something comes in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from compute_agent.drivers.base import UNWATCHED, Launch
from compute_agent.drivers.libvirt.connection import Task
from compute_agent.drivers.libvirt.guest import Guest
from compute_agent.drivers.libvirt.sending import ABORT, Manner, Sender
from paddock.actions import Seen
from paddock.errors import GuestGone, GuestHung, HypervisorError
from paddock.records import Landing
from tests import factories

LANDING = Landing(host="h2", address="10.1.2.3", directory="/there")
LAUNCH = Launch(
    action_id="a", cloud_id="c", disk_generation=1, may_launch=lambda: None, work=UNWATCHED
)


class Look:
    """What is seen of the guest."""

    seen = Seen.RUNNING


class Domain:
    """A guest whose sending goes on until it is ended.

    :ivar ends: what aborting the job does
    :ivar outcome: what the sending raises in the end; None when the guest has gone over
    """

    seconds = 0.3

    def __init__(self, ends: Callable[[], None] | None = None) -> None:
        self.over = threading.Event()
        self.abort_job = ends or self.over.set
        self.outcome: Exception | None = HypervisorError("operation aborted")

    def settled(self) -> Look:
        return Look()

    def migrate(self, *_: Any) -> Task[None]:
        return Task(self._go_on)

    def _go_on(self) -> None:
        self.over.wait(20)
        if self.outcome is not None:
            raise self.outcome

    def set_downtime(self, _milliseconds: int) -> None:
        """Taken."""

    def job(self) -> tuple[int, int]:
        return 1, 10

    def stands_by_us(self) -> bool:
        return False


@pytest.fixture
def domain() -> Iterator[Domain]:
    made = Domain()
    yield made
    made.over.set()


def send(domain: Domain, patience: float = 0.1) -> None:
    manner = Manner(Path("/here"), Path("/pki"), 300, patience, ABORT)
    guest = factories.guest(None)
    Sender(manner, cast(Guest, domain), guest).send(LANDING, LAUNCH)


def test_a_sending_that_takes_too_long_has_ended_and_the_guest_can_be_looked_at(
    domain: Domain,
) -> None:
    with pytest.raises(HypervisorError, match="not handed over within") as said:
        send(domain)
    assert not isinstance(said.value, GuestHung)


def test_a_sending_that_does_not_end_is_told_as_such(domain: Domain) -> None:
    domain.abort_job = lambda: None
    with pytest.raises(GuestHung, match="still on its way"):
        send(domain)


def test_whether_it_has_ended_is_told_by_the_sending_not_by_the_one_who_ends_it(
    domain: Domain,
) -> None:
    def fail() -> None:
        raise HypervisorError("libvirtd connects anew")

    domain.abort_job = fail
    with pytest.raises(GuestHung, match="still on its way"):
        send(domain)


def test_a_guest_that_went_over_while_it_was_to_be_kept_has_gone(domain: Domain) -> None:
    def gone() -> None:
        domain.outcome = None
        domain.over.set()
        raise GuestGone("It is no longer here.")

    domain.abort_job = gone
    send(domain)
