"""Users, projects and roles: who logs in, and as what."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from conductor.callers import check_current
from conductor.db.models import Assignment, Project, User
from conductor.log_ins import LogIns, pair_of
from conductor.passwords import Passwords
from conductor.turn import Turn, Turns
from paddock.context import RequestContext
from paddock.errors import Unauthorized
from paddock.records import Identity

LOG = logging.getLogger(__name__)
ROLES = ("admin", "member", "reader")


class Identities:
    """Answers log-ins."""

    def __init__(self, turns: Turns, passwords: Passwords) -> None:
        self._turns = turns
        self._passwords = passwords
        self._log_ins = LogIns(turns)

    def authenticate(
        self, user: dict[str, str], password: str, project: dict[str, str], address: str | None
    ) -> Identity:
        """Check a password; whatever is wrong, the answer and its time are the same.

        :param user, project: with ``id`` or ``name``
        :param address: the client's; None where an older API does not tell it
        :raises Unauthorized: user, password, project or role; with ``retry_after``, seconds, when
            too many log-ins failed, whatever this one is
        """
        found = self._turns.read(lambda turn: _find(turn, _named(User, user)))
        if address is None:
            return self._check(found, password, project, address)
        pair = pair_of(found, user, address)
        self._log_ins.admit(pair)
        try:
            identity = self._check(found, password, project, address)
        except Unauthorized:
            self._log_ins.note_failure(pair)
            raise
        self._log_ins.note_success(pair)
        return identity

    def _check(
        self,
        found: User | None,
        password: str,
        project: dict[str, str],
        address: str | None,
    ) -> Identity:
        # No connection is held meanwhile: this is slow on purpose.
        right = self._passwords.verify(found.password_hash if found else None, password)
        if found is None or not right or not found.enabled:
            # What was typed as a name may be a password.
            name = repr(found.name) if found else "somebody unknown"
            LOG.warning("Log-in of %s from %s refused", name, address)
            raise Unauthorized
        return self._turns.read(lambda turn: identity_of(turn, found, project))

    def identify(self, ctxt: RequestContext, project: dict[str, str]) -> Identity:
        """The token's user, still of its epoch, in that project, or in the token's when empty.

        :raises Unauthorized: the token has ended, or there is no role in the project
        """

        def find(turn: Turn) -> Identity:
            check_current(turn, ctxt)
            user = _find(turn, User.id == ctxt.user_id)
            if user is None:
                raise Unauthorized
            return identity_of(turn, user, project or {"id": str(ctxt.project_id)})

        return self._turns.read(find)


def identity_of(turn: Turn, user: User, project: dict[str, str]) -> Identity:
    """A user in a project; Unauthorized without a role in it."""
    query = (
        sa.select(Project, Assignment.role)
        .join(Assignment, Assignment.project_id == Project.id)
        .where(_named(Project, project), Assignment.user_id == user.id)
    )
    rows = turn.session.execute(query).tuples().all()
    if not rows:
        raise Unauthorized
    return Identity(
        user_id=user.id,
        user_name=user.name,
        user_epoch=user.epoch,
        project_id=rows[0][0].id,
        project_name=rows[0][0].name,
        roles=sorted(role for _, role in rows),
    )


def _find(turn: Turn, which: sa.ColumnElement[bool]) -> User | None:
    return turn.first(sa.select(User).where(which))


def _named(kind: type[User] | type[Project], name: dict[str, str]) -> sa.ColumnElement[bool]:
    if "id" in name:
        return kind.id == name["id"]
    return kind.name == name.get("name", "")
