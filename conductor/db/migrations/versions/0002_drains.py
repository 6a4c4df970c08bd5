"""Drains of hosts and their machines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"

UUID = sa.String(36)
NAME = sa.String(255)
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "drains",
        sa.Column("id", UUID, nullable=False),
        sa.Column("host", NAME, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("homeward", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("strategy", sa.String(16), nullable=False),
        sa.Column("max_parallel", sa.Integer(), nullable=False),
        sa.Column("target_zone", NAME, nullable=True),
        sa.Column("exclude", sa.JSON(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("deadline", MOMENT, nullable=True),
        sa.Column("reopen", sa.Boolean(), nullable=False),
        sa.Column("user_id", UUID, nullable=True),
        sa.Column("who", NAME, nullable=True),
        sa.Column("ticked_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drains")),
        mysql_collate="utf8mb4_bin",
    )
    op.create_index("drains_by_status", "drains", ["status", "finished_at"], unique=False)
    op.create_index("drains_by_host", "drains", ["host", "created_at"], unique=False)
    op.create_table(
        "drain_machines",
        sa.Column("drain_id", UUID, nullable=False),
        sa.Column("instance_id", UUID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("how", sa.String(16), nullable=False),
        sa.Column("target", NAME, nullable=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ran", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("action_id", UUID, nullable=True),
        sa.Column("not_before", MOMENT, nullable=True),
        sa.Column("begun_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("drain_id", "instance_id", name=op.f("pk_drain_machines")),
        mysql_collate="utf8mb4_bin",
    )
