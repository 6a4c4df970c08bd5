"""Typed records on the wire between the processes.

All are frozen and keyword-only; ``msgspec`` turns them into JSON values and back, refusing wrong
types. Times are ISO 8601 in UTC, sizes are in MiB or GiB as named, durations in seconds. A field
that a newer sender adds is ignored by an older receiver; a new field has a default.
"""

from __future__ import annotations

from typing import Any

import msgspec

from paddock.actions import Seen, StepKind


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the records."""


# --- what agents and the conductor say to each other


class Resources(Record, frozen=True, kw_only=True):
    """What one host has.

    :ivar vcpus: processors that guests may share
    :ivar memory_mb: memory for guests, MiB
    :ivar disk_gb: room for guests' disks, GiB
    """

    vcpus: int
    memory_mb: int
    disk_gb: int


class HostFacts(Record, frozen=True, kw_only=True):
    """What an agent tells of its host, with every heartbeat.

    :ivar version: Paddock's release on the host
    :ivar rpc_version: highest version of the agent's RPC interface
    :ivar hypervisor_type: ``QEMU``, ``KVM`` or ``fake``
    :ivar hypervisor_version: as an integer, libvirt's way (7002000)
    :ivar uptime: seconds since the host started
    :ivar address: the host's address for other hosts
    :ivar store: URI of the host's disks, as another host's mover opens it
    :ivar extra: figures for people, such as the processor's model
    """

    resources: Resources
    capabilities: list[str]
    version: str
    rpc_version: str = "1.0"
    hypervisor_type: str = "fake"
    hypervisor_version: int = 0
    uptime: int = 0
    address: str = ""
    store: str = ""
    extra: dict[str, Any] = {}


class Hello(Record, frozen=True, kw_only=True):
    """A new agent process announces itself.

    :ivar epoch: its new uuid
    :ivar replaces: the epoch that its host's last process had, from the host's own file; None on a
        host that never had one
    :ivar machine_id: the machine that the host name is bound to
    """

    host: str
    epoch: str
    replaces: str | None
    machine_id: str
    zone: str
    facts: HostFacts


class HelloAnswer(Record, frozen=True, kw_only=True):
    """:ivar cloud_id: this cloud's uuid, written into every domain's metadata"""

    cloud_id: str
    orders: list[str]


class HeldStep(Record, frozen=True, kw_only=True):
    """A step that the agent holds: its instance's slot is taken for it."""

    step_id: str
    attempt: int


class LiveStep(Record, frozen=True, kw_only=True):
    """A step that the ledger has as accepted or running on the host."""

    step_id: str
    action_id: str
    instance_id: str
    kind: StepKind
    attempt: int
    status: str
    epoch: str | None


class Heartbeat(Record, frozen=True, kw_only=True):
    """:ivar held: steps held when it was sent"""

    host: str
    epoch: str
    facts: HostFacts
    held: list[HeldStep]


class HeartbeatAnswer(Record, frozen=True, kw_only=True):
    """:ivar orders: ``reconcile``, ``inventory``"""

    steps: list[LiveStep]
    orders: list[str]


class PortSpec(Record, frozen=True, kw_only=True):
    """One network interface. ``cidr`` is the subnet's, ``gateway`` an address or empty."""

    id: str
    network_id: str
    network_name: str
    mac: str
    address: str
    cidr: str
    gateway: str = ""


class ImageSpec(Record, frozen=True, kw_only=True):
    """An image as an agent needs it.

    :ivar file: name below the image store
    :ivar disk_format: ``raw`` or ``qcow2``, stated and verified, never probed
    :ivar checksum: sha256 of the file, hexadecimal
    :ivar kernel, ramdisk: for images that are booted directly
    :ivar command_line: the kernel's, with ``kernel`` only
    """

    id: str
    name: str
    file: str
    disk_format: str
    checksum: str
    kernel: ImageSpec | None = None
    ramdisk: ImageSpec | None = None
    command_line: str = ""


class GuestSpec(Record, frozen=True, kw_only=True):
    """All that a driver needs to have a guest."""

    id: str
    name: str
    project_id: str
    generation: int
    vcpus: int
    memory_mb: int
    disk_gb: int
    image: ImageSpec | None
    ports: list[PortSpec]
    metadata: dict[str, str]


class DiskSource(Record, frozen=True, kw_only=True):
    """Where a disk lies now: the host's name, its store's URI and the disk's generation there."""

    host: str
    store: str
    generation: int


class StepRef(Record, frozen=True, kw_only=True):
    """Names one attempt of one step to the conductor."""

    host: str
    epoch: str
    step_id: str
    attempt: int


class WorkOrder(Record, frozen=True, kw_only=True):
    """What ``start`` answers: all that the worker needs.

    :ivar seconds: how long the step may take from now
    :ivar params: the user's, checked in accept
    :ivar disk_generation: the generation in the name of the disk's file on this host
    :ivar source: for ``fetch``
    """

    step_id: str
    action_id: str
    request_id: str
    kind: StepKind
    attempt: int
    seconds: float
    params: dict[str, Any]
    guest: GuestSpec
    disk_generation: int
    source: DiskSource | None = None


class Outcome(Record, frozen=True, kw_only=True):
    """How a step ended.

    :ivar error: ``PaddockError.to_wire()``, None when it succeeded
    :ivar seen: what the hypervisor shows of the guest now, None when that is not known
    """

    step: StepRef
    error: dict[str, Any] | None = None
    seen: Seen | None = None


class Progress(Record, frozen=True, kw_only=True):
    """:ivar done, total: bytes"""

    step: StepRef
    done: int
    total: int


class Observation(Record, frozen=True, kw_only=True):
    """What an agent saw of an idle instance.

    :ivar action_id: the last action that the agent knew for it, None if none
    """

    instance_id: str
    generation: int
    seen: Seen
    action_id: str | None = None


class Found(Record, frozen=True, kw_only=True):
    """One instance of this cloud as the hypervisor and the host's store have it.

    :ivar generation: recorded in the domain, None when only disks are there
    :ivar disks: generations of the disk files there
    """

    instance_id: str
    generation: int | None
    launched_by: str | None
    seen: Seen
    disks: list[int]


class Verdict(Record, frozen=True, kw_only=True):
    """What becomes of something found.

    :ivar verdict: ``keep``, ``remove`` (a newer generation is elsewhere, or it was deleted),
        ``unknown`` (nobody knows it: report and leave)
    :ivar below: remove only what has a generation below this one
    """

    instance_id: str
    verdict: str
    below: int = 0
    reason: str = ""


class QueryOrder(Record, frozen=True, kw_only=True):
    """A read-only question to a host. ``kind`` is ``console``; ``params`` has ``length`` lines."""

    id: str
    kind: str
    instance_id: str
    params: dict[str, Any]


# --- what the API and the conductor say to each other


class AcceptRequest(Record, frozen=True, kw_only=True):
    """One user's wish for one instance.

    :ivar action_id: minted by the API; repeating it repeats the answer
    :ivar fingerprint: of the request's body, so that one idempotency key names one wish
    """

    action_id: str
    instance_id: str
    verb: str
    params: dict[str, Any]
    fingerprint: str = ""


class CreateRequest(Record, frozen=True, kw_only=True):
    """A wish for new instances; ids are minted by the API, one pair for each of ``max_count``."""

    action_ids: list[str]
    instance_ids: list[str]
    min_count: int
    name: str
    image_id: str
    flavor_id: str
    zone: str | None
    host: str | None
    networks: str | list[dict[str, Any]]
    metadata: dict[str, str]
    description: str | None = None
    reservation_id: str = ""
    fingerprint: str = ""


class Ticket(Record, frozen=True, kw_only=True):
    """What accept answers: the row is there. ``host``, ``step_id`` and ``kind`` make the hint."""

    action_id: str
    instance_id: str
    step_id: str | None = None
    host: str | None = None
    kind: StepKind | None = None


class Listing(Record, frozen=True, kw_only=True):
    """Which rows, in which order.

    :ivar filters: names and values as the API's handler understood them
    :ivar sort: pairs of field and ``asc`` or ``desc``
    :ivar marker: id after which the page starts
    :ivar limit: 1 to 500 rows
    """

    filters: dict[str, Any] = {}
    sort: list[tuple[str, str]] = []
    marker: str | None = None
    limit: int = 500


class PortRecord(Record, frozen=True, kw_only=True):
    """A port as users see it."""

    id: str
    network_id: str
    network_name: str
    mac: str
    address: str


class InstanceRecord(Record, frozen=True, kw_only=True):
    """An instance as the API shows it."""

    id: str
    name: str
    description: str | None
    project_id: str
    user_id: str
    vm_state: str
    task_state: str | None
    power_state: int
    host: str | None
    hypervisor_hostname: str | None
    disk_host: str | None
    zone: str | None
    generation: int
    image_id: str | None
    flavor: dict[str, Any]
    metadata: dict[str, str]
    ports: list[PortRecord]
    locked: bool
    locked_reason: str | None
    fault: dict[str, Any] | None
    reservation_id: str
    launch_index: int
    host_status: str
    progress: int
    created_at: str
    updated_at: str | None
    launched_at: str | None
    terminated_at: str | None
    deleted: bool


class StepRecord(Record, frozen=True, kw_only=True):
    """One step of an action as ``os-instance-actions`` shows it."""

    kind: str
    host: str | None
    status: str
    attempt: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    reason: str | None
    done: int
    total: int


class ActionRecord(Record, frozen=True, kw_only=True):
    """An action with its steps. ``status`` is accepted, running, succeeded, failed, superseded."""

    id: str
    request_id: str
    instance_id: str
    verb: str
    status: str
    user_id: str | None
    project_id: str | None
    created_at: str
    updated_at: str | None
    finished_at: str | None
    reason: str | None
    steps: list[StepRecord]


class PauseRecord(Record, frozen=True, kw_only=True):
    """One holder's pause of a host."""

    holder: str
    reason: str | None
    who: str | None
    since: str


class HostRecord(Record, frozen=True, kw_only=True):
    """A host (or a conductor, which has no resources) as an administrator sees it.

    :ivar state: ``up``, ``down`` or ``reconciling``
    :ivar total: resources the host has; :ivar claimed: what instances hold of them
    :ivar age: seconds since the last heartbeat
    """

    id: str
    host: str
    binary: str
    zone: str
    state: str
    disabled: bool
    disabled_reason: str | None
    forced_down: bool
    pauses: list[PauseRecord]
    last_heartbeat: str | None
    age: float | None
    version: str
    capabilities: list[str]
    total: Resources
    claimed: Resources
    running: int
    hypervisor_type: str
    hypervisor_version: int
    uptime: int
    address: str
    extra: dict[str, Any] = {}


class ImageRecord(Record, frozen=True, kw_only=True):
    """An image as the image service shows it; ``size`` is in bytes."""

    id: str
    name: str
    owner: str | None
    visibility: str
    status: str
    disk_format: str
    container_format: str
    size: int
    checksum: str
    min_disk: int
    min_ram: int
    properties: dict[str, str]
    created_at: str
    updated_at: str


class FlavorRecord(Record, frozen=True, kw_only=True):
    """A flavor; ``memory_mb`` in MiB, ``disk_gb`` in GiB."""

    id: str
    name: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    description: str | None = None
    extra_specs: dict[str, str] = {}


class AggregateRecord(Record, frozen=True, kw_only=True):
    """A group of hosts; one with a zone makes that availability zone."""

    id: int
    uuid: str
    name: str
    zone: str | None
    hosts: list[str]
    metadata: dict[str, str]
    created_at: str
    updated_at: str | None


class ZoneRecord(Record, frozen=True, kw_only=True):
    """An availability zone; ``hosts`` maps names to whether they are up and open."""

    name: str
    available: bool
    hosts: dict[str, bool]


class Identity(Record, frozen=True, kw_only=True):
    """An authenticated user in a project, from which the API makes a token."""

    user_id: str
    user_name: str
    user_epoch: int
    project_id: str
    project_name: str
    roles: list[str]
