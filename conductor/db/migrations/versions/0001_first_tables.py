"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

UUID = sa.String(36)
NAME = sa.String(255)
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def must(name: str, kind: Any, **more: Any) -> sa.Column[Any]:
    """A column that always has a value."""
    return sa.Column(name, kind, nullable=False, **more)


def may(name: str, kind: Any) -> sa.Column[Any]:
    """A column that can be NULL."""
    return sa.Column(name, kind, nullable=True)


def table(name: str, key: list[str], *parts: Any) -> None:
    """A table with its primary key."""
    primary = sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}"))
    op.create_table(name, *parts, primary, mysql_collate="utf8mb4_bin")


def upgrade() -> None:
    """Bring the schema to this revision."""
    _create_catalog()
    _create_hosts()
    _create_instances()


def _create_catalog() -> None:
    table(
        "assignments",
        ["user_id", "project_id", "role"],
        must("user_id", UUID),
        must("project_id", UUID),
        must("role", sa.String(64)),
    )
    table(
        "cloud",
        ["one"],
        must("one", sa.Integer(), autoincrement=False),
        must("id", UUID),
    )
    table(
        "flavors",
        ["id"],
        must("id", NAME),
        must("name", NAME),
        must("vcpus", sa.Integer()),
        must("memory_mb", sa.Integer()),
        must("disk_gb", sa.Integer()),
        must("ephemeral_gb", sa.Integer()),
        must("swap_mb", sa.Integer()),
        must("rxtx_factor", sa.Float()),
        must("is_public", sa.Boolean()),
        must("disabled", sa.Boolean()),
        may("description", sa.Text()),
        must("extra_specs", sa.JSON()),
        sa.UniqueConstraint("name", name=op.f("uq_flavors_name")),
    )
    table(
        "images",
        ["id"],
        must("id", UUID),
        must("name", NAME),
        may("owner", UUID),
        must("visibility", sa.String(16)),
        must("status", sa.String(16)),
        must("disk_format", sa.String(16)),
        must("container_format", sa.String(16)),
        must("size", sa.BigInteger()),
        must("checksum", sa.String(64)),
        must("file", NAME),
        must("min_disk", sa.Integer()),
        must("min_ram", sa.Integer()),
        must("properties", sa.JSON()),
        must("created_at", MOMENT),
        must("updated_at", MOMENT),
    )
    table(
        "log_ins",
        ["who", "address"],
        must("who", sa.String(64)),
        must("address", sa.String(64)),
        must("failures", sa.Integer()),
        must("last", MOMENT),
        may("open_at", MOMENT),
        may("good_at", MOMENT),
    )
    op.create_index("log_ins_by_address", "log_ins", ["address", "last"], unique=False)
    op.create_index("log_ins_by_end", "log_ins", ["last"], unique=False)
    table(
        "networks",
        ["id"],
        must("id", UUID),
        must("name", NAME),
        may("project_id", UUID),
        must("cidr", sa.String(64)),
        must("gateway", sa.String(64)),
        must("first", sa.String(64)),
        must("last", sa.String(64)),
    )
    table(
        "projects",
        ["id"],
        must("id", UUID),
        must("name", NAME),
        must("used_instances", sa.Integer()),
        must("used_cores", sa.Integer()),
        must("used_memory_mb", sa.Integer()),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    table(
        "users",
        ["id"],
        must("id", UUID),
        must("name", NAME),
        must("password_hash", NAME),
        must("enabled", sa.Boolean()),
        must("epoch", sa.Integer()),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )


def _create_hosts() -> None:
    table(
        "aggregate_hosts",
        ["aggregate_id", "host"],
        must("aggregate_id", sa.Integer(), autoincrement=False),
        must("host", NAME),
    )
    table(
        "aggregates",
        ["id"],
        must("id", sa.Integer()),
        must("uuid", UUID),
        must("name", NAME),
        may("zone", NAME),
        must("details", sa.JSON()),
        must("created_at", MOMENT),
        may("updated_at", MOMENT),
        sa.UniqueConstraint("name", name=op.f("uq_aggregates_name")),
    )
    table(
        "conductors",
        ["id"],
        must("id", UUID),
        must("host", NAME),
        must("version", sa.String(64)),
        must("rpc_version", sa.String(16), server_default="1.0"),
        must("started_at", MOMENT),
        must("last_heartbeat", MOMENT),
        may("certificates_end", MOMENT),
    )
    table(
        "hosts",
        ["name"],
        must("name", NAME),
        must("id", UUID),
        must("machine_id", NAME),
        must("zone", NAME),
        may("own_zone", NAME),
        must("state", sa.String(16)),
        must("epoch", UUID),
        must("last_heartbeat", MOMENT),
        must("created_at", MOMENT),
        must("facts", sa.JSON()),
        must("vcpus", sa.Integer()),
        must("memory_mb", sa.Integer()),
        must("disk_gb", sa.Integer()),
        must("claimed_vcpus", sa.Integer()),
        must("claimed_memory_mb", sa.Integer()),
        must("claimed_disk_gb", sa.Integer()),
        must("disabled", sa.Boolean()),
        may("disabled_reason", NAME),
        must("forced_down", sa.Boolean()),
        must("revoked", sa.Boolean()),
        must("reconcile", sa.Boolean()),
        must("paused", sa.Integer()),
        may("nonce", UUID),
        must("nonce_misses", sa.Integer()),
        may("booted_at", MOMENT),
        sa.UniqueConstraint("id", name=op.f("uq_hosts_id")),
    )
    table(
        "pauses",
        ["host", "holder"],
        must("host", NAME),
        must("holder", NAME),
        may("reason", sa.Text()),
        may("who", NAME),
        must("since", MOMENT),
    )


def _create_instances() -> None:
    table(
        "actions",
        ["id"],
        must("id", UUID),
        must("instance_id", UUID),
        must("verb", sa.String(64)),
        must("status", sa.String(16)),
        must("params", sa.JSON()),
        must("before", sa.JSON()),
        must("request_id", sa.String(64)),
        may("user_id", UUID),
        may("project_id", UUID),
        must("fingerprint", NAME),
        may("refusal", sa.JSON()),
        may("reason", sa.Text()),
        must("created_at", MOMENT),
        may("updated_at", MOMENT),
        may("finished_at", MOMENT),
    )
    op.create_index("actions_by_end", "actions", ["status", "finished_at"], unique=False)
    op.create_index("actions_by_instance", "actions", ["instance_id", "created_at"], unique=False)
    table(
        "claims",
        ["instance_id", "host", "kind"],
        must("instance_id", UUID),
        must("host", NAME),
        must("kind", sa.String(16)),
        may("action_id", UUID),
        must("vcpus", sa.Integer()),
        must("memory_mb", sa.Integer()),
        must("disk_gb", sa.Integer()),
    )
    table(
        "instances",
        ["id"],
        must("id", UUID),
        must("name", NAME),
        may("description", sa.Text()),
        must("project_id", UUID),
        must("user_id", UUID),
        must("vm_state", sa.String(16)),
        may("task_state", sa.String(32)),
        must("power_state", sa.Integer()),
        may("busy", UUID),
        may("last_action", UUID),
        may("host", NAME),
        may("disk_host", NAME),
        may("zone", NAME),
        may("wanted_zone", NAME),
        must("generation", sa.Integer()),
        must("disk_generation", sa.Integer()),
        may("image_id", UUID),
        must("flavor", sa.JSON()),
        must("vcpus", sa.Integer()),
        must("memory_mb", sa.Integer()),
        must("disk_gb", sa.Integer()),
        must("details", sa.JSON()),
        must("locked", sa.Boolean()),
        must("lock_version", sa.Integer()),
        must("lock_admin", sa.Boolean()),
        may("lock_who", NAME),
        may("lock_reason", sa.Text()),
        may("lock_at", MOMENT),
        may("fault", sa.JSON()),
        must("reservation_id", NAME),
        must("launch_index", sa.Integer()),
        must("created_at", MOMENT),
        may("updated_at", MOMENT),
        may("launched_at", MOMENT),
        may("terminated_at", MOMENT),
        must("deleted", sa.Boolean()),
    )
    op.create_index(
        "instances_by_project", "instances", ["project_id", "deleted", "created_at"], unique=False
    )
    op.create_index("instances_by_end", "instances", ["terminated_at"], unique=False)
    op.create_index("ix_instances_disk_host", "instances", ["disk_host"], unique=False)
    op.create_index("ix_instances_host", "instances", ["host"], unique=False)
    table(
        "leftovers",
        ["id"],
        must("id", UUID),
        must("host", NAME),
        must("kind", sa.String(16)),
        must("instance_id", UUID),
        must("generation", sa.Integer()),
        must("created_at", MOMENT),
        sa.UniqueConstraint(
            "host", "kind", "instance_id", name=op.f("uq_leftovers_host_kind_instance_id")
        ),
    )
    op.create_index("ix_leftovers_host", "leftovers", ["host"], unique=False)
    op.create_index("ix_leftovers_instance_id", "leftovers", ["instance_id"], unique=False)
    table(
        "ports",
        ["id"],
        must("id", UUID),
        must("network_id", UUID),
        may("instance_id", UUID),
        must("position", sa.Integer()),
        must("mac", sa.String(17)),
        must("address", sa.String(64)),
        may("quarantine_host", NAME),
        sa.UniqueConstraint("mac", name=op.f("uq_ports_mac")),
        sa.UniqueConstraint("network_id", "address", name=op.f("uq_ports_network_id_address")),
    )
    op.create_index("ix_ports_instance_id", "ports", ["instance_id"], unique=False)
    op.create_index("ix_ports_quarantine_host", "ports", ["quarantine_host"], unique=False)
    table(
        "queries",
        ["id"],
        must("id", UUID),
        must("host", NAME),
        must("kind", sa.String(16)),
        must("instance_id", UUID),
        must("params", sa.JSON()),
        may("answer", sa.JSON()),
        must("created_at", MOMENT),
    )
    op.create_index("ix_queries_created_at", "queries", ["created_at"], unique=False)
    table(
        "steps",
        ["id"],
        must("id", UUID),
        must("action_id", UUID),
        must("instance_id", UUID),
        must("ordinal", sa.Integer()),
        must("kind", sa.String(16)),
        must("host", NAME),
        must("status", sa.String(16)),
        must("attempt", sa.Integer()),
        may("epoch", UUID),
        may("ticket", sa.String(64)),
        may("deadline", MOMENT),
        may("hard_deadline", MOMENT),
        may("hinted_at", MOMENT),
        must("created_at", MOMENT),
        may("started_at", MOMENT),
        may("finished_at", MOMENT),
        must("done", sa.BigInteger()),
        must("total", sa.BigInteger()),
        may("reason", sa.Text()),
        sa.UniqueConstraint("action_id", "ordinal", name=op.f("uq_steps_action_id_ordinal")),
    )
    op.create_index("ix_steps_instance_id", "steps", ["instance_id"], unique=False)
    op.create_index("steps_by_host", "steps", ["host", "status"], unique=False)
    op.create_index("steps_by_status", "steps", ["status", "deadline"], unique=False)
