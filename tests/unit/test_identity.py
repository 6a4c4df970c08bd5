"""Log-ins: who gets in, and that nobody else learns why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import argon2
import pytest
import sqlalchemy as sa

from conductor.bootstrap import Account, ensure_account
from conductor.catalog_endpoint import CatalogEndpoint
from conductor.db.models import User
from conductor.identity import Identities
from conductor.passwords import Passwords
from conductor.senders import Senders
from conductor.turn import Turn
from paddock.clients import CatalogClient
from paddock.context import RequestContext
from paddock.errors import Unauthorized
from paddock.records import Identity
from tests.fixtures.ledger import Direct, Ledger

PASSWORD = "correct horse"
DEMO = {"name": "demo-project"}


class Doors:
    """The identity service with some users."""

    def __init__(self) -> None:
        self.ledger = Ledger("sqlite://")
        self.passwords = Passwords()
        identities = Identities(self.ledger.turns, self.passwords)
        senders = Senders(self.ledger.conf)
        endpoint = CatalogEndpoint(self.ledger.turns, self.ledger.policy, senders, identities)
        self.client = CatalogClient(Direct(endpoint))

    def add(self, name: str, role: str, project: str, password: str = PASSWORD) -> None:
        account = Account(name, project, role, password)
        self.ledger.turns.run(lambda turn: ensure_account(turn, self.passwords, account))

    def change(self, name: str, **values: object) -> None:
        def write(turn: Turn) -> int:
            return turn.change(User, User.name == name, **values)

        assert self.ledger.turns.run(write) == 1

    def log_in(self, password: str = PASSWORD, user: str = "ann", project: str = "") -> Identity:
        named = {"name": project} if project else DEMO
        return self.client.authenticate(RequestContext(), {"name": user}, password, named)


@pytest.fixture
def doors() -> Iterator[Doors]:
    doors = Doors()
    doors.add("ann", "member", DEMO["name"])
    doors.add("ann", "reader", DEMO["name"])
    doors.add("bob", "admin", "other")
    yield doors
    doors.ledger.close()


def context(identity: Identity) -> RequestContext:
    return RequestContext(
        user_id=identity.user_id, user_epoch=identity.user_epoch, project_id=identity.project_id
    )


def test_the_right_password_gives_all_roles_in_the_project(doors: Doors) -> None:
    identity = doors.log_in()
    assert (identity.user_name, identity.project_name) == ("ann", "demo-project")
    assert identity.roles == ["member", "reader"]


def test_users_and_projects_are_found_by_id_too(doors: Doors) -> None:
    known = doors.log_in()
    user, project = {"id": known.user_id}, {"id": known.project_id}
    assert doors.client.authenticate(RequestContext(), user, PASSWORD, project) == known


@pytest.mark.parametrize(
    "attempt",
    [
        lambda doors: doors.log_in("wrong password"),
        lambda doors: doors.log_in(""),
        lambda doors: doors.log_in("x" * 5000),
        lambda doors: doors.log_in(user="nobody"),
        lambda doors: doors.log_in(user="Ann"),
        lambda doors: doors.log_in(user="bob"),
        lambda doors: doors.log_in(project="nowhere"),
        lambda doors: doors.client.authenticate(RequestContext(), {}, PASSWORD, {}),
    ],
)
def test_whatever_is_wrong_the_answer_is_the_same(
    doors: Doors, attempt: Callable[[Doors], object]
) -> None:
    with pytest.raises(Unauthorized) as caught:
        attempt(doors)
    assert caught.value.message == Unauthorized.default


def test_a_disabled_user_is_refused(doors: Doors) -> None:
    doors.change("ann", enabled=False)
    with pytest.raises(Unauthorized):
        doors.log_in()


def test_an_unknown_user_costs_the_same_work_as_a_wrong_password(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost is in the parameters that argon2 writes into each hash."""
    worked: list[list[str]] = []
    verify = argon2.PasswordHasher.verify

    def note(hasher: argon2.PasswordHasher, password_hash: str, password: str) -> bool:
        worked.append(password_hash.split("$")[:4])
        return verify(hasher, password_hash, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", note)
    for user in ("ann", "nobody"):
        with pytest.raises(Unauthorized):
            doors.log_in("wrong password", user)
    known, unknown = worked
    assert known == unknown


def test_a_token_lives_until_its_user_changes(doors: Doors) -> None:
    known = doors.log_in()
    assert doors.client.identify(context(known), {}) == known
    doors.add("ann", "member", DEMO["name"], "another password")
    with pytest.raises(Unauthorized):
        doors.client.identify(context(known), {})
    with pytest.raises(Unauthorized):
        doors.log_in()
    assert doors.log_in("another password").user_epoch > known.user_epoch


def test_a_token_buys_no_project_in_which_its_user_has_no_role(doors: Doors) -> None:
    known = doors.log_in()
    with pytest.raises(Unauthorized):
        doors.client.identify(context(known), {"name": "other"})


def test_passwords_are_kept_as_argon2_hashes(doors: Doors) -> None:
    hashes = doors.ledger.rows(sa.select(User.password_hash).where(User.name.in_(["ann", "bob"])))
    assert all(text.startswith("$argon2id$") for text in hashes)
    assert len(set(hashes)) == 2
