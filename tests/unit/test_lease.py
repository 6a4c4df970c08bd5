"""How long a host may launch without a word from the conductor."""

from __future__ import annotations

import pytest

from compute_agent.lease import Lease
from paddock.errors import LaunchBarred


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> Lease:
    return Lease(8.0, clock)


def opened(lease: Lease, clock: Clock) -> None:
    lease.renew(clock.now)
    lease.reconciled(lease.lapses)
    assert lease.is_valid()


def test_nothing_is_launched_before_the_host_has_reconciled(lease: Lease, clock: Clock) -> None:
    assert lease.renew(clock.now)
    with pytest.raises(LaunchBarred):
        lease.may_launch()
    lease.reconciled(lease.lapses)
    lease.may_launch()


def test_it_runs_from_the_sending_of_the_heartbeat(lease: Lease, clock: Clock) -> None:
    opened(lease, clock)
    clock.now += 5
    assert not lease.renew(clock.now - 3)
    clock.now += 5
    assert lease.is_valid()
    clock.now += 0.1
    assert not lease.is_valid()


def test_after_a_lapse_only_reconciling_opens_it_again(lease: Lease, clock: Clock) -> None:
    opened(lease, clock)
    clock.now += 9
    assert lease.renew(clock.now)
    assert not lease.is_valid()
    lease.reconciled(lease.lapses)
    assert lease.is_valid()


def test_reconciling_begun_before_a_lapse_does_not_open_it(lease: Lease, clock: Clock) -> None:
    opened(lease, clock)
    begun = lease.lapses
    clock.now += 9
    lease.renew(clock.now)
    lease.reconciled(begun)
    assert not lease.is_valid()


def test_once_ended_it_never_opens(lease: Lease, clock: Clock) -> None:
    opened(lease, clock)
    lease.end()
    lease.renew(clock.now)
    lease.reconciled(lease.lapses)
    assert not lease.is_valid()
