"""The tables. Ids are UUIDs as 36 characters; times are naive UTC by the database's clock.

Counters (a host's ``claimed_*``, a project's ``used_*``) stand beside the rows that they sum up,
so that a claim is one UPDATE whose WHERE names the room; ``paddock-manage check`` compares both.
"""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

import conductor.db.drains  # noqa: F401 (its tables)
from conductor.db.base import BINARY, Uuid
from conductor.db.base import NAME_LENGTH as NAME_LENGTH
from conductor.db.base import Base as Base
from paddock.versions import FIRST


class Cloud(Base):
    """One row: this cloud's own id."""

    __tablename__ = "cloud"
    one: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(Uuid)


class User(Base):
    """A person or program that logs in; raising ``epoch`` ends all tokens."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    enabled: Mapped[bool]
    epoch: Mapped[int]


class LogIn(Base):
    """A user's log-ins from an address, so that guessing is slow.

    ``who`` is the user's id, or a digest of what was said for a user who is not there;
    ``failures`` are those since the last right password, at ``good_at``; ``open_at`` is when the
    next may be tried.
    """

    __tablename__ = "log_ins"
    __table_args__ = (
        sa.Index("log_ins_by_address", "address", "last"),
        sa.Index("log_ins_by_end", "last"),
        BINARY,
    )
    who: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    address: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    failures: Mapped[int]
    last: Mapped[datetime.datetime]
    open_at: Mapped[datetime.datetime | None]
    good_at: Mapped[datetime.datetime | None]


class Project(Base):
    """An owner of instances, with what its quota counts."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    used_instances: Mapped[int] = mapped_column(default=0)
    used_cores: Mapped[int] = mapped_column(default=0)
    used_memory_mb: Mapped[int] = mapped_column(default=0)


class Assignment(Base):
    """A user's role in a project."""

    __tablename__ = "assignments"
    user_id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    project_id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    role: Mapped[str] = mapped_column(sa.String(64), primary_key=True)


class Flavor(Base):
    """A size of instances."""

    __tablename__ = "flavors"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    vcpus: Mapped[int]
    memory_mb: Mapped[int]
    disk_gb: Mapped[int]
    ephemeral_gb: Mapped[int] = mapped_column(default=0)
    swap_mb: Mapped[int] = mapped_column(default=0)
    rxtx_factor: Mapped[float] = mapped_column(default=1.0)
    is_public: Mapped[bool] = mapped_column(default=True)
    disabled: Mapped[bool] = mapped_column(default=False)
    description: Mapped[str | None] = mapped_column(sa.Text)
    extra_specs: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Image(Base):
    """An image's record; ``file`` is its name in the image store, ``checksum`` its sha256."""

    __tablename__ = "images"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str]
    owner: Mapped[str | None] = mapped_column(Uuid)
    visibility: Mapped[str] = mapped_column(sa.String(16))
    status: Mapped[str] = mapped_column(sa.String(16))
    disk_format: Mapped[str] = mapped_column(sa.String(16))
    container_format: Mapped[str] = mapped_column(sa.String(16))
    size: Mapped[int] = mapped_column(sa.BigInteger)
    checksum: Mapped[str] = mapped_column(sa.String(64))
    file: Mapped[str]
    min_disk: Mapped[int] = mapped_column(default=0)
    min_ram: Mapped[int] = mapped_column(default=0)
    properties: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime.datetime]
    updated_at: Mapped[datetime.datetime]


class Network(Base):
    """A layer-2 network with its one subnet."""

    __tablename__ = "networks"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str]
    project_id: Mapped[str | None] = mapped_column(Uuid)
    cidr: Mapped[str] = mapped_column(sa.String(64))
    gateway: Mapped[str] = mapped_column(sa.String(64), default="")
    first: Mapped[str] = mapped_column(sa.String(64))
    last: Mapped[str] = mapped_column(sa.String(64))


class Port(Base):
    """An address on a network. A port without an instance whose ``quarantine_host`` is set waits
    until that host has reconciled or is fenced."""

    __tablename__ = "ports"
    __table_args__ = (
        sa.UniqueConstraint("network_id", "address"),
        sa.UniqueConstraint("mac"),
        BINARY,
    )
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    network_id: Mapped[str] = mapped_column(Uuid)
    instance_id: Mapped[str | None] = mapped_column(Uuid, index=True)
    position: Mapped[int] = mapped_column(default=0)
    mac: Mapped[str] = mapped_column(sa.String(17))
    address: Mapped[str] = mapped_column(sa.String(64))
    quarantine_host: Mapped[str | None] = mapped_column(index=True)


class Host(Base):
    """A compute host.

    ``state``: ``up``, ``down`` (a verdict) or ``reconciling``. ``epoch`` is the newest agent
    process. ``own_zone`` is the one that its agent names, ``zone`` that of its aggregate if that
    has one. ``claimed_*`` sum up the rows of claims. ``booted_at`` is known where the machines that
    ran before are to run again. Of a ``revoked`` host nothing is believed; it is down.
    """

    __tablename__ = "hosts"
    name: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(Uuid, unique=True)
    machine_id: Mapped[str]
    zone: Mapped[str]
    own_zone: Mapped[str | None]
    state: Mapped[str] = mapped_column(sa.String(16))
    epoch: Mapped[str] = mapped_column(Uuid)
    last_heartbeat: Mapped[datetime.datetime]
    created_at: Mapped[datetime.datetime]
    facts: Mapped[dict[str, Any]]
    vcpus: Mapped[int]
    memory_mb: Mapped[int]
    disk_gb: Mapped[int]
    claimed_vcpus: Mapped[int] = mapped_column(default=0)
    claimed_memory_mb: Mapped[int] = mapped_column(default=0)
    claimed_disk_gb: Mapped[int] = mapped_column(default=0)
    disabled: Mapped[bool] = mapped_column(default=False)
    disabled_reason: Mapped[str | None]
    forced_down: Mapped[bool] = mapped_column(default=False)
    revoked: Mapped[bool] = mapped_column(default=False)
    reconcile: Mapped[bool] = mapped_column(default=False)
    paused: Mapped[int] = mapped_column(default=0)
    nonce: Mapped[str | None] = mapped_column(Uuid)
    nonce_misses: Mapped[int] = mapped_column(default=0)
    booted_at: Mapped[datetime.datetime | None]

    @property
    def rpc_version(self) -> str:
        """The newest RPC version that its agent serves, as that last told."""
        return str(self.facts.get("rpc_version", FIRST))


class Pause(Base):
    """One holder's pause of a host; ``hosts.paused`` counts them."""

    __tablename__ = "pauses"
    host: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    who: Mapped[str | None]
    since: Mapped[datetime.datetime]


class Conductor(Base):
    """A conductor process; ``rpc_version`` is the newest that it serves, ``certificates_end`` when
    the first certificate of its configuration ends."""

    __tablename__ = "conductors"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    host: Mapped[str]
    version: Mapped[str] = mapped_column(sa.String(64))
    rpc_version: Mapped[str] = mapped_column(sa.String(16), server_default="1.0")
    started_at: Mapped[datetime.datetime]
    last_heartbeat: Mapped[datetime.datetime]
    certificates_end: Mapped[datetime.datetime | None]


class Aggregate(Base):
    """A group of hosts; a ``zone`` makes it an availability zone."""

    __tablename__ = "aggregates"
    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(Uuid)
    name: Mapped[str] = mapped_column(unique=True)
    zone: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime.datetime]
    updated_at: Mapped[datetime.datetime | None]


class AggregateHost(Base):
    """Membership of a host in an aggregate."""

    __tablename__ = "aggregate_hosts"
    aggregate_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    host: Mapped[str] = mapped_column(primary_key=True)


class Instance(Base):
    """A machine.

    ``busy`` is the id of its one live action. ``generation`` grows when it changes host;
    ``disk_generation`` names its disk file on ``disk_host``. A deleted instance stays as a
    tombstone.
    """

    __tablename__ = "instances"
    __table_args__ = (
        sa.Index("instances_by_project", "project_id", "deleted", "created_at"),
        sa.Index("instances_by_end", "terminated_at"),
        BINARY,
    )
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str]
    description: Mapped[str | None] = mapped_column(sa.Text)
    project_id: Mapped[str] = mapped_column(Uuid)
    user_id: Mapped[str] = mapped_column(Uuid)
    vm_state: Mapped[str] = mapped_column(sa.String(16))
    task_state: Mapped[str | None] = mapped_column(sa.String(32))
    power_state: Mapped[int]
    busy: Mapped[str | None] = mapped_column(Uuid)
    last_action: Mapped[str | None] = mapped_column(Uuid)
    host: Mapped[str | None] = mapped_column(index=True)
    disk_host: Mapped[str | None] = mapped_column(index=True)
    zone: Mapped[str | None]
    wanted_zone: Mapped[str | None]
    generation: Mapped[int]
    disk_generation: Mapped[int]
    image_id: Mapped[str | None] = mapped_column(Uuid)
    flavor: Mapped[dict[str, Any]]
    vcpus: Mapped[int]
    memory_mb: Mapped[int]
    disk_gb: Mapped[int]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    locked: Mapped[bool] = mapped_column(default=False)
    lock_version: Mapped[int] = mapped_column(default=0)
    lock_admin: Mapped[bool] = mapped_column(default=False)
    lock_who: Mapped[str | None]
    lock_reason: Mapped[str | None] = mapped_column(sa.Text)
    lock_at: Mapped[datetime.datetime | None]
    fault: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    reservation_id: Mapped[str] = mapped_column(default="")
    launch_index: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime.datetime]
    updated_at: Mapped[datetime.datetime | None]
    launched_at: Mapped[datetime.datetime | None]
    terminated_at: Mapped[datetime.datetime | None]
    deleted: Mapped[bool] = mapped_column(default=False)


class Claim(Base):
    """What an instance holds of a host: ``compute`` (vCPUs and memory) or ``disk``."""

    __tablename__ = "claims"
    instance_id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    host: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    action_id: Mapped[str | None] = mapped_column(Uuid)
    vcpus: Mapped[int] = mapped_column(default=0)
    memory_mb: Mapped[int] = mapped_column(default=0)
    disk_gb: Mapped[int] = mapped_column(default=0)


class Action(Base):
    """One user's wish for one instance, accepted or refused; its id was minted by the API.

    ``status``: refused, accepted (whether it runs, its steps tell), succeeded, failed, superseded.
    """

    __tablename__ = "actions"
    __table_args__ = (
        sa.Index("actions_by_instance", "instance_id", "created_at"),
        sa.Index("actions_by_end", "status", "finished_at"),
        BINARY,
    )
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    instance_id: Mapped[str] = mapped_column(Uuid)
    verb: Mapped[str] = mapped_column(sa.String(64))
    status: Mapped[str] = mapped_column(sa.String(16))
    params: Mapped[dict[str, Any]]
    before: Mapped[dict[str, Any]]
    request_id: Mapped[str] = mapped_column(sa.String(64))
    user_id: Mapped[str | None] = mapped_column(Uuid)
    project_id: Mapped[str | None] = mapped_column(Uuid)
    fingerprint: Mapped[str] = mapped_column(default="")
    refusal: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    reason: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime.datetime]
    updated_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]


class Step(Base):
    """One part of an action, on one host.

    ``status``: waiting (an earlier step is not done), accepted, running, succeeded, failed,
    superseded. ``epoch`` is that of the agent process that started it, ``ticket`` lets it read the
    images, or another host's disk, that it needs.
    """

    __tablename__ = "steps"
    __table_args__ = (
        sa.Index("steps_by_host", "host", "status"),
        sa.Index("steps_by_status", "status", "deadline"),
        sa.UniqueConstraint("action_id", "ordinal"),
        BINARY,
    )
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    action_id: Mapped[str] = mapped_column(Uuid)
    instance_id: Mapped[str] = mapped_column(Uuid, index=True)
    ordinal: Mapped[int]
    kind: Mapped[str] = mapped_column(sa.String(16))
    host: Mapped[str]
    status: Mapped[str] = mapped_column(sa.String(16))
    attempt: Mapped[int] = mapped_column(default=1)
    epoch: Mapped[str | None] = mapped_column(Uuid)
    ticket: Mapped[str | None] = mapped_column(sa.String(64))
    deadline: Mapped[datetime.datetime | None]
    hard_deadline: Mapped[datetime.datetime | None]
    hinted_at: Mapped[datetime.datetime | None]
    created_at: Mapped[datetime.datetime]
    started_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]
    done: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    total: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    reason: Mapped[str | None] = mapped_column(sa.Text)


class Leftover(Base):
    """What could not be undone on a host, settled when it reconciles.

    ``kind``: ``disk`` (a copy below ``generation`` to remove), ``guest`` (one that may run there;
    the instance may launch nowhere else until it is settled), ``arrival`` (one that may have come
    there live; only deletion goes on until it is settled) or ``instance`` (all of a deleted one).
    """

    __tablename__ = "leftovers"
    __table_args__ = (sa.UniqueConstraint("host", "kind", "instance_id"), BINARY)
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    host: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(sa.String(16))
    instance_id: Mapped[str] = mapped_column(Uuid, index=True)
    generation: Mapped[int]
    created_at: Mapped[datetime.datetime]


class Query(Base):
    """A read-only question to a host, and its answer."""

    __tablename__ = "queries"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    host: Mapped[str]
    kind: Mapped[str] = mapped_column(sa.String(16))
    instance_id: Mapped[str] = mapped_column(Uuid)
    params: Mapped[dict[str, Any]]
    answer: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    created_at: Mapped[datetime.datetime] = mapped_column(index=True)
