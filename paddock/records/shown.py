"""What the API and the conductor say to each other."""

from __future__ import annotations

from typing import Any

from paddock.records.base import Record, RpcVersion
from paddock.records.work import Resources


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
    """What accept answers: the row is there. ``host``, ``step_id`` and ``kind`` make the hint.

    :ivar rpc_version: what the host's agent last told, for the hint
    """

    action_id: str
    instance_id: str
    step_id: str | None = None
    host: str | None = None
    kind: str | None = None
    rpc_version: RpcVersion = "1.0"


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
    """An instance as the API shows it.

    :ivar wanted_zone: the zone that its creation asked for, None when any would do
    """

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
    wanted_zone: str | None = None


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
    :ivar rpc_version: the newest that it serves, as it last told
    :ivar revoked: whether it was cut off, so that nothing of it is believed
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
    rpc_version: RpcVersion = "1.0"
    revoked: bool = False


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


class NetworkRecord(Record, frozen=True, kw_only=True):
    """A network with its one subnet; ``first`` and ``last`` bound the addresses given out."""

    id: str
    name: str
    project_id: str | None
    cidr: str
    gateway: str
    first: str
    last: str


class DrainMachine(Record, frozen=True, kw_only=True):
    """A machine of a drain.

    :ivar how: ``cold`` (it is stopped, moved and started), ``off`` (it does not run, and is moved
        so) or ``leave``
    :ivar target: the host that it is to go to, or went to; None where there is none
    :ivar status: ``planned``, ``moving`` or ``done``
    :ivar verdict: of one that is done: ``moved``, ``returned``, ``gone``, ``left`` or ``failed``
    :ivar reason: why it is left, or failed
    :ivar host: where it is now
    :ivar progress: percent of its disk that has moved
    :ivar seconds: from its first action's acceptance to its verdict, or until now
    :ivar estimate: seconds that it is likely to need still; None of one that is done or is to stay
    """

    id: str
    name: str
    how: str
    target: str | None
    status: str
    verdict: str | None = None
    reason: str | None = None
    host: str | None = None
    progress: int = 0
    seconds: float | None = None
    estimate: float | None = None


class DrainRecord(Record, frozen=True, kw_only=True):
    """A drain of a host.

    :ivar id: None for a dry run, of which nothing is kept
    :ivar status: ``planned``, ``running``, ``paused``, ``cancelling``, ``completed``,
        ``cancelled``, ``failed``, ``restoring`` or ``restored``
    :ivar reason: the administrator's
    :ivar strategy: ``auto``, ``live``, ``cold`` or ``leave``
    :ivar exclude: ids of machines that stay
    :ivar deadline: after which no move begins, ISO 8601
    :ivar homeward: whether machines go, or went, to the host rather than away from it
    :ivar notes: what its administrator should know
    :ivar counts: verdict, or status of what is not done → how many machines
    :ivar machines: empty in lists
    :ivar estimate: seconds until all have moved; None once it has ended, and in lists
    """

    id: str | None
    host: str
    status: str
    reason: str | None
    strategy: str
    max_parallel: int
    target_zone: str | None
    exclude: list[str]
    deadline: str | None
    who: str | None
    created_at: str
    updated_at: str | None
    finished_at: str | None
    homeward: bool
    notes: list[str]
    counts: dict[str, int]
    machines: list[DrainMachine]
    estimate: float | None = None
