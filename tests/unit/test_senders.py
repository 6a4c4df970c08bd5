"""Whom the broker's user may speak for."""

from __future__ import annotations

import pytest

from conductor.refusals import LINES, SECONDS, Refusals
from conductor.senders import Senders
from conductor.turn import Turn, each
from paddock.config import load
from paddock.errors import DatabaseUnavailable, Forbidden, PaddockError, StepRefused
from tests.fixtures.lab import Lab


@pytest.fixture
def senders() -> Senders:
    return Senders(load(overrides={"DEFAULT": {"transport_url": "rabbit://c1:x@127.0.0.1/"}}))


def test_an_agent_speaks_for_its_own_host_only(senders: Senders) -> None:
    senders.check_agent({"auth_user": "h1"}, "h1")
    for sender in ("h2", "api", None):
        with pytest.raises(Forbidden):
            senders.check_agent({"auth_user": sender}, "h1")


def test_only_an_api_speaks_for_users(senders: Senders) -> None:
    for sender in ("api", "api-2"):
        senders.check_api({"auth_user": sender})
    for sender in ("h1", "c1", "apis", None):
        with pytest.raises(Forbidden):
            senders.check_api({"auth_user": sender})


@pytest.mark.parametrize("host", ["api", "api-2"])
def test_a_host_cannot_bear_an_apis_name(senders: Senders, host: str) -> None:
    """Else its agent, logged in under that name, could speak for users."""
    with pytest.raises(Forbidden):
        senders.check_agent({"auth_user": host}, host)


class TestRefusals:
    """What is logged of what was refused."""

    @pytest.fixture
    def clock(self) -> list[float]:
        return [0.0]

    @pytest.fixture
    def refusals(self, clock: list[float]) -> Refusals:
        return Refusals(lambda: clock[0])

    def test_a_refusal_names_sender_and_method(
        self, refusals: Refusals, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(Forbidden), refusals.watch({"auth_user": "h1"}, "start"):
            raise Forbidden("It is not yours.")
        assert caplog.messages == ["Refused to h1: start: It is not yours."]

    def test_what_only_came_at_a_bad_time_is_not_one(
        self, refusals: Refusals, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(DatabaseUnavailable), refusals.watch({"auth_user": "h1"}, "start"):
            raise DatabaseUnavailable
        assert caplog.messages == []

    def test_one_sender_cannot_fill_the_log_nor_hide_another(
        self, refusals: Refusals, clock: list[float], caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(1000):
            refusals.note({"auth_user": "h1"}, "x" * 10_000)
        assert len(caplog.messages) == LINES
        assert max(map(len, caplog.messages)) < 400
        refusals.note({"auth_user": "h2"}, "another")
        assert caplog.messages[-1] == "Refused to h2: another"
        clock[0] = SECONDS
        refusals.note({"auth_user": "h1"}, "again")
        assert caplog.messages[-1] == f"Refused to h1: again ({1000 - LINES} more were not logged)"

    def test_who_speaks_for_users_without_being_an_api_is_logged(
        self, senders: Senders, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(Forbidden):
            senders.check_api({"auth_user": "h1"})
        assert caplog.messages == ["Refused to h1: This sender does not speak for users."]

    def test_a_part_of_a_batch_that_only_came_at_a_bad_time_is_not_one(self, lab: Lab) -> None:
        def fail(error: PaddockError) -> None:
            raise error

        def batch(turn: Turn) -> list[str]:
            errors = [DatabaseUnavailable(), StepRefused("It is another's.")]
            each(turn, errors, str, fail)
            return turn.refused

        assert lab.ledger.turns.run(batch) == ["It is another's."]
