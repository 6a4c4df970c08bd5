"""Failed log-ins: who guesses is slowed, honest users are not, and nothing grows without end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from conductor import retention
from conductor.bootstrap import Account, change_user, ensure_account
from conductor.catalog_endpoint import CatalogEndpoint
from conductor.db.models import LogIn
from conductor.identity import Identities
from conductor.log_ins import LONGEST_DELAY
from conductor.passwords import Passwords
from conductor.senders import Senders
from paddock.clients import CatalogClient
from paddock.context import RequestContext
from paddock.errors import Unauthorized
from tests.fixtures.ledger import Clock, Direct, Ledger

FREE = 5
SPREAD = 4
PASSWORD = "correct horse"
HOME, OFFICE, GUESSER = "192.0.2.1", "192.0.2.2", "203.0.113.9"


class Quick(Passwords):
    """Without the slowness, which other tests hold."""

    def hash(self, password: str) -> str:
        return password

    def verify(self, password_hash: str | None, password: str) -> bool:
        return password_hash == password


class Doors:
    """Two users, and conductors that share the database."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.ledger = Ledger(url, clock=self.clock, log_in_failures=FREE, log_in_spread=SPREAD)
        for name in ("ann", "bob"):
            account = Account(name, "demo", "member", PASSWORD)
            self.ledger.turns.run(lambda turn, one=account: ensure_account(turn, Quick(), one))
        self.clients = [self._conductor() for _ in range(2)]
        self.tries = 0

    def _conductor(self) -> CatalogClient:
        identities = Identities(self.ledger.turns, Quick())
        senders = Senders(self.ledger.conf)
        return CatalogClient(
            Direct(CatalogEndpoint(self.ledger.turns, self.ledger.policy, senders, identities))
        )

    def log_in(
        self, password: str, address: str | None = GUESSER, user: str = "ann", project: str = "demo"
    ) -> str | int:
        """``in``, ``wrong``, or the seconds to wait; the conductors take turns."""
        self.tries += 1
        client = self.clients[self.tries % len(self.clients)]
        try:
            client.authenticate(
                RequestContext(address=address), {"name": user}, password, {"name": project}
            )
        except Unauthorized as error:
            seconds: int | None = error.kwargs.get("retry_after")
            return "wrong" if seconds is None else seconds
        return "in"

    def rows(self) -> int:
        return len(self.ledger.rows(sa.select(LogIn.who)))


def fail(doors: Doors, count: int, **where: str) -> list[str | int]:
    return [doors.log_in("a guess", **where) for _ in range(count)]


class LogInContract:
    """To be run on each kind of database."""

    @pytest.fixture
    def doors(self, url: str) -> Iterator[Doors]:
        doors = Doors(url)
        yield doors
        doors.ledger.close()

    def test_a_guesser_has_to_wait_longer_each_time(self, doors: Doors) -> None:
        assert fail(doors, FREE) == ["wrong"] * FREE
        waited = []
        for _ in range(12):
            seconds = doors.log_in("a guess")
            assert isinstance(seconds, int)
            waited.append(seconds)
            doors.clock.advance(seconds)
            assert doors.log_in("a guess") == "wrong"
        assert waited == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[LONGEST_DELAY] * 3]

    def test_the_right_password_is_not_tried_before_its_time(self, doors: Doors) -> None:
        fail(doors, FREE + 1)
        assert doors.log_in(PASSWORD) == 1
        doors.clock.advance(1)
        assert doors.log_in(PASSWORD) == "in"
        assert fail(doors, FREE) == ["wrong"] * FREE

    def test_others_are_not_slowed_and_neither_is_the_user_elsewhere(self, doors: Doors) -> None:
        fail(doors, FREE + 3)
        assert doors.log_in(PASSWORD, HOME) == "in"
        assert doors.log_in(PASSWORD, GUESSER, "bob") == "in"
        assert isinstance(doors.log_in(PASSWORD), int)

    def test_many_right_log_ins_at_once_are_not_slowed(self, doors: Doors) -> None:
        found: list[str | int] = []
        threads = [
            threading.Thread(target=lambda: found.append(doors.log_in(PASSWORD, HOME)))
            for _ in range(3 * FREE)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["in"] * 3 * FREE

    def test_of_guesses_at_once_one_passes_when_it_is_time(self, doors: Doors) -> None:
        fail(doors, FREE + 1)
        doors.clock.advance(1)
        found: list[str | int] = []
        threads = [
            threading.Thread(target=lambda: found.append(doors.log_in("a guess"))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.count("wrong") == 1
        assert len(found) == 8

    @pytest.mark.parametrize(
        "attempt",
        [
            {"password": "a guess"},
            {"password": PASSWORD, "project": "nowhere"},
            {"password": "a guess", "user": "nobody"},
        ],
        ids=["password", "project", "user"],
    )
    def test_what_is_wrong_makes_no_difference(self, doors: Doors, attempt: dict[str, str]) -> None:
        answers = []
        for _ in range(FREE + 4):
            answers.append(doors.log_in(**attempt))
            doors.clock.advance(1)
        assert answers == ["wrong"] * (FREE + 1) + [1, "wrong", 3]

    def test_who_tries_many_users_is_stopped_for_an_hour(self, doors: Doors) -> None:
        assert doors.log_in(PASSWORD, GUESSER, "bob") == "in"
        for number in range(SPREAD):
            assert doors.log_in("a guess", user=f"user {number}") == "wrong"
        assert doors.log_in(PASSWORD) == LONGEST_DELAY
        assert doors.log_in(PASSWORD, HOME) == "in"
        assert doors.log_in(PASSWORD, GUESSER, "bob") == "in"
        doors.clock.advance(3601)
        assert doors.log_in(PASSWORD) == "in"

    def test_a_user_guessed_at_from_everywhere_gets_in_where_they_are_known(
        self, doors: Doors
    ) -> None:
        assert doors.log_in(PASSWORD, HOME) == "in"
        for number in range(SPREAD):
            assert doors.log_in("a guess", f"203.0.113.{number}") == "wrong"
        assert doors.log_in("a guess") == LONGEST_DELAY
        assert doors.log_in(PASSWORD, OFFICE) == LONGEST_DELAY
        assert doors.log_in(PASSWORD, HOME) == "in"
        assert doors.log_in(PASSWORD, OFFICE, "bob") == "in"
        doors.clock.advance(3601)
        assert doors.log_in(PASSWORD, OFFICE) == "in"

    def test_an_administrator_can_open_the_door(self, doors: Doors) -> None:
        fail(doors, FREE + 2)
        doors.ledger.turns.run(lambda turn: change_user(turn, "ann", enabled=True))
        assert doors.log_in(PASSWORD) == "in"

    def test_failures_are_forgotten_after_a_day_and_places_after_a_month(
        self, doors: Doors
    ) -> None:
        reaper = doors.ledger.reaper()
        doors.log_in(PASSWORD, HOME)
        fail(doors, 2)
        fail(doors, 1, user="nobody")
        reaper.round()
        assert doors.rows() == 3
        doors.clock.advance(25 * 3600)
        reaper.round()
        assert doors.rows() == 1
        doors.clock.advance(30 * 24 * 3600)
        reaper.round()
        assert doors.rows() == 0

    def test_more_than_a_batch_is_forgotten_round_by_round(
        self, doors: Doors, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "BATCH", 2)
        for number in range(5):
            fail(doors, 1, address=f"203.0.113.{number}", user=f"user {number}")
        doors.clock.advance(25 * 3600)
        reaper = doors.ledger.reaper()
        counts = []
        for _ in range(3):
            reaper.round()
            counts.append(doors.rows())
        assert counts == [3, 1, 0]

    def test_an_older_api_that_tells_no_address_is_served(self, doors: Doors) -> None:
        assert [doors.log_in("a guess", None) for _ in range(FREE + 3)] == ["wrong"] * (FREE + 3)
        assert doors.log_in(PASSWORD, None) == "in"
        assert doors.rows() == 0
