"""What agents and the conductor say to each other."""

from __future__ import annotations

from typing import Any

from paddock.actions import Seen, StepKind
from paddock.records.base import Record, RpcVersion


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
    :ivar landing: directory below which guests that come running find their files; empty where
        none may come
    :ivar extra: figures for people, such as the processor's model
    """

    resources: Resources
    capabilities: list[str]
    version: str
    rpc_version: RpcVersion = "1.0"
    hypervisor_type: str = "fake"
    hypervisor_version: int = 0
    uptime: int = 0
    address: str = ""
    store: str = ""
    landing: str = ""
    extra: dict[str, Any] = {}


class Hello(Record, frozen=True, kw_only=True):
    """A new agent process announces itself.

    :ivar epoch: its new uuid
    :ivar replaces: the epoch that its host's last process had, from the host's own file; None on a
        host that never had one
    :ivar machine_id: the machine that the host name is bound to
    :ivar booted: seconds since the host booted, where the instances that ran before are to run
        again; None where they are left as they are
    """

    host: str
    epoch: str
    replaces: str | None
    machine_id: str
    zone: str
    facts: HostFacts
    booted: float | None = None


class HelloAnswer(Record, frozen=True, kw_only=True):
    """What hello answers.

    :ivar cloud_id: this cloud's uuid, written into every domain's metadata
    :ivar rpc_version: the lowest of all live conductors
    """

    cloud_id: str
    orders: list[str]
    rpc_version: RpcVersion = "1.0"


class HeldStep(Record, frozen=True, kw_only=True):
    """A step that the agent holds: its instance's slot is taken for it."""

    step_id: str
    attempt: int


class LiveStep(Record, frozen=True, kw_only=True):
    """A step that the ledger has as accepted or running on the host.

    :ivar kind: a StepKind, or one that only newer releases know
    """

    step_id: str
    action_id: str
    instance_id: str
    kind: str
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
    """What a heartbeat answers.

    :ivar orders: ``reconcile``, ``inventory``, ``listen``
    :ivar rpc_version: the lowest of all live conductors
    """

    steps: list[LiveStep]
    orders: list[str]
    rpc_version: RpcVersion = "1.0"


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
    :ivar ticket: lets who has it have the file from the API while the step runs
    :ivar size: of the file, in bytes
    """

    id: str
    name: str
    file: str
    disk_format: str
    checksum: str
    ticket: str = ""
    size: int = 0


class DirectBoot(Record, frozen=True, kw_only=True):
    """What a guest boots whose disk does not boot by itself; ``command_line`` is the kernel's."""

    kernel: ImageSpec
    ramdisk: ImageSpec | None = None
    command_line: str = ""


class GuestSpec(Record, frozen=True, kw_only=True):
    """All that a driver needs to have a guest.

    :ivar image: what its first disk is made from; None once it has one
    :ivar ports: its interfaces; none for a step that launches nothing
    :ivar boot: what it boots at every launch; None where its disk boots by itself, and for a step
        that launches nothing
    """

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
    boot: DirectBoot | None = None


class DiskSource(Record, frozen=True, kw_only=True):
    """Where a disk lies now: the host's name, its store's URI and the disk's generation there.

    :ivar ticket: lets who has it have the disk from that host's agent while the step runs
    """

    host: str
    store: str
    generation: int
    ticket: str = ""


class Landing(Record, frozen=True, kw_only=True):
    """Where a guest goes that is sent: the host, its address for other hosts, and the directory
    below which it finds its files there."""

    host: str
    address: str
    directory: str


class DiskRef(Record, frozen=True, kw_only=True):
    """Names a disk on the host that is told."""

    instance_id: str
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
    :ivar landing: for ``send``
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
    landing: Landing | None = None


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
    :ivar disks: generations of the disk files there; an instance that is known but of which
        nothing is there has none, and is ``gone``
    :ivar action_id: the last action that the agent knew for it before it looked, None if none
    :ivar worked_on: a worker, or what a worker began in the hypervisor, is still at it, so that
        it may change at once
    """

    instance_id: str
    generation: int | None
    launched_by: str | None
    seen: Seen
    disks: list[int]
    action_id: str | None = None
    worked_on: bool = False


class Verdict(Record, frozen=True, kw_only=True):
    """What becomes of something found.

    :ivar verdict: ``keep``, ``remove`` (a newer generation is elsewhere, or it was deleted),
        ``release`` (it is powered off here: keep its disk), ``unknown`` (nobody knows it: report
        and leave)
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
