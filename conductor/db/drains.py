"""The tables of drains."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from conductor.db.base import BINARY, Base, Uuid


class Drain(Base):
    """A host that is to be emptied, or filled again (``homeward``).

    ``status`` is as in :class:`paddock.records.DrainRecord`; ``reopen`` says whether the host is
    open again once it is cancelled; ``ticked_at`` is when a conductor last worked on it.
    """

    __tablename__ = "drains"
    __table_args__ = (
        sa.Index("drains_by_status", "status", "finished_at"),
        sa.Index("drains_by_host", "host", "created_at"),
        BINARY,
    )
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    host: Mapped[str]
    status: Mapped[str] = mapped_column(sa.String(16))
    homeward: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    strategy: Mapped[str] = mapped_column(sa.String(16))
    max_parallel: Mapped[int]
    target_zone: Mapped[str | None]
    exclude: Mapped[list[Any]]
    notes: Mapped[list[Any]]
    deadline: Mapped[datetime.datetime | None]
    reopen: Mapped[bool] = mapped_column(default=True)
    user_id: Mapped[str | None] = mapped_column(Uuid)
    who: Mapped[str | None]
    ticked_at: Mapped[datetime.datetime]
    created_at: Mapped[datetime.datetime]
    updated_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]


class DrainMachine(Base):
    """A machine of a drain: what is to become of it, and what became of it.

    ``ran`` is whether it is to run afterwards; ``tries`` counts what failed; ``action_id`` is the
    action that goes on, of which ``not_before`` is when the next may begin.
    """

    __tablename__ = "drain_machines"
    drain_id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    instance_id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str]
    ordinal: Mapped[int]
    how: Mapped[str] = mapped_column(sa.String(16))
    target: Mapped[str | None]
    status: Mapped[str] = mapped_column(sa.String(16))
    verdict: Mapped[str | None] = mapped_column(sa.String(16))
    reason: Mapped[str | None] = mapped_column(sa.Text)
    ran: Mapped[bool]
    tries: Mapped[int] = mapped_column(default=0)
    action_id: Mapped[str | None] = mapped_column(Uuid)
    not_before: Mapped[datetime.datetime | None]
    begun_at: Mapped[datetime.datetime | None]
    ended_at: Mapped[datetime.datetime | None]
