"""psycopg's cursor without the columns that nobody asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg


class Columns(Sequence[Any]):
    """The columns of a cursor's present result, each made when it is asked for."""

    def __init__(self, cursor: psycopg.Cursor[Any], count: int) -> None:
        self._cursor = cursor
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        chosen = range(self._count)[place]
        return self._make(chosen) if isinstance(chosen, int) else [*map(self._make, chosen)]

    def __iter__(self) -> Iterator[psycopg.Column]:
        return map(self._make, range(self._count))

    def _make(self, place: int) -> psycopg.Column:
        return psycopg.Column(self._cursor, place)


class Cursor(psycopg.Cursor[Any]):
    """Describes its columns as psycopg does, but later.

    SQLAlchemy asks after each statement whether there are any, and knows those of a statement that
    it ran before: for a row of three tables that was a third of a SELECT's processor time.
    """

    @property
    def description(self) -> Any:
        """See PEP 249."""
        count = self.pgresult.nfields if self.pgresult is not None else 0
        return Columns(self, count) if count else None
