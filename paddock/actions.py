"""The instance's states: what an action needs, what it leads to, what an observation means.

Two tables hold the whole machine: ``ACTIONS`` (what a user may ask, in which states, and what
becomes of it) and ``OBSERVATIONS`` (what an idle instance becomes when its hypervisor shows
something else). The documentation's picture and the unit cases are made from them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class VmState(enum.StrEnum):
    """What the user may rely on."""

    BUILDING = "building"
    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    POWERED_OFF = "powered_off"
    ERROR = "error"
    DELETED = "deleted"


class PowerState(enum.IntEnum):
    """What the hypervisor last said; the numbers are Nova's, POWER_OFF is Paddock's own."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7
    POWER_OFF = 10


class Seen(enum.StrEnum):
    """What a driver says of one guest.

    ``OFF`` is a guest that shut itself down, ``CRASHED`` one that ended any other way, ``SAVED``
    one whose memory lies on disk, ``GONE`` one of which nothing but perhaps its disk is there.
    """

    RUNNING = "running"
    PAUSED = "paused"
    OFF = "off"
    CRASHED = "crashed"
    SAVED = "saved"
    GONE = "gone"


ALIVE = frozenset({Seen.RUNNING, Seen.PAUSED})
"""Guests that have memory and processors, and write to their disks."""


class StepKind(enum.StrEnum):
    """The work of one step: the name of a worker in the agent."""

    LAUNCH = "launch"
    FETCH = "fetch"
    RECEIVE = "receive"
    SEND = "send"
    ARRIVE = "arrive"
    DISCARD = "discard"
    POWER_OFF = "power_off"
    STOP = "stop"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    SUSPEND = "suspend"
    RESUME = "resume"
    REBOOT = "reboot"
    DESTROY = "destroy"


LAUNCHING = frozenset({StepKind.LAUNCH, StepKind.RESUME, StepKind.REBOOT})
"""Steps that may launch a guest: their start moves the instance to their host."""

EQUIPPED = LAUNCHING | {StepKind.RECEIVE}
"""Steps that are told a guest's ports, and how it boots."""

MOVING = frozenset({StepKind.FETCH, StepKind.SEND})
"""Steps that move data: they have worker slots of their own."""

CLEANING = frozenset({StepKind.DISCARD, StepKind.DESTROY})
"""Steps after which nobody waits: overdue, they become leftovers and never fail the action."""


@dataclass(frozen=True)
class Action:
    """One row of the table of actions.

    :ivar verb: the name in the ledger and in the API's body
    :ivar shown: the name that ``os-instance-actions`` shows, Nova's where Nova has one
    :ivar allowed: vm_states in which it may be accepted; None for every state
    :ivar task_state: what the instance shows meanwhile
    :ivar success: the vm_state afterwards; None leaves it
    :ivar power: the power_state afterwards; None leaves it
    :ivar failure: the vm_state after a failure; None leaves what was before
    :ivar steps: the kinds of its steps, in order
    :ivar policy: the rule that the caller must pass
    :ivar capability: what the host's driver must be able to do; None for the mandatory part
    :ivar deadline: seconds for each step
    :ivar supersedes: accepted while another action is going on, which it ends
    :ivar passes_host: accepted though the host is down
    :ivar power_errors: wrong states are answered 400 rather than 409
    """

    verb: str
    shown: str
    allowed: frozenset[VmState] | None
    task_state: str | None
    success: VmState | None
    power: PowerState | None
    failure: VmState | None
    steps: tuple[StepKind, ...]
    policy: str
    capability: str | None = None
    deadline: int = 120
    supersedes: bool = False
    passes_host: bool = False
    power_errors: bool = False


_S = VmState
_K = StepKind


def _states(*states: VmState) -> frozenset[VmState]:
    return frozenset(states)


_SERVERS = "os_compute_api:servers"
_ROWS = (
    Action("create", "create", _states(), "spawning", _S.ACTIVE, PowerState.RUNNING, _S.ERROR,
           (_K.LAUNCH,), f"{_SERVERS}:create", deadline=300),
    Action("vm-poweroff", "vm-poweroff", _states(_S.ACTIVE, _S.PAUSED, _S.STOPPED, _S.SUSPENDED),
           "powering-off", _S.POWERED_OFF, PowerState.POWER_OFF, None, (_K.POWER_OFF,),
           "paddock:servers:poweroff", deadline=180, power_errors=True),
    Action("vm-poweron", "vm-poweron", _states(_S.POWERED_OFF), "powering-on", _S.ACTIVE,
           PowerState.RUNNING, None, (_K.FETCH, _K.LAUNCH, _K.DISCARD), "paddock:servers:poweron",
           deadline=180, power_errors=True),
    Action("migrate", "migrate", _states(_S.STOPPED, _S.POWERED_OFF), "resize_migrating", None,
           None, None, (_K.POWER_OFF, _K.FETCH, _K.DISCARD),
           "os_compute_api:os-migrate-server:migrate", "move", deadline=180),
    Action("os-migrateLive", "live-migration", _states(_S.ACTIVE), "migrating", None, None, None,
           (_K.RECEIVE, _K.SEND, _K.ARRIVE, _K.DISCARD),
           "os_compute_api:os-migrate-server:migrate_live", "live_migration", deadline=180),
    Action("os-stop", "stop", _states(_S.ACTIVE, _S.ERROR), "powering-off", _S.STOPPED,
           PowerState.SHUTDOWN, None, (_K.STOP,), f"{_SERVERS}:stop", deadline=180),
    Action("os-start", "start", _states(_S.STOPPED), "powering-on", _S.ACTIVE,
           PowerState.RUNNING, None, (_K.LAUNCH,), f"{_SERVERS}:start"),
    Action("pause", "pause", _states(_S.ACTIVE), "pausing", _S.PAUSED, PowerState.PAUSED, None,
           (_K.PAUSE,), "os_compute_api:os-pause-server:pause", "pause"),
    Action("unpause", "unpause", _states(_S.PAUSED), "unpausing", _S.ACTIVE, PowerState.RUNNING,
           None, (_K.UNPAUSE,), "os_compute_api:os-pause-server:unpause", "pause"),
    Action("suspend", "suspend", _states(_S.ACTIVE, _S.PAUSED), "suspending", _S.SUSPENDED,
           PowerState.SUSPENDED, None, (_K.SUSPEND,), "os_compute_api:os-suspend-server:suspend",
           "suspend", deadline=300),
    Action("resume", "resume", _states(_S.SUSPENDED), "resuming", _S.ACTIVE, PowerState.RUNNING,
           None, (_K.RESUME,), "os_compute_api:os-suspend-server:resume", "suspend", deadline=300),
    Action("reboot-soft", "reboot", _states(_S.ACTIVE), "rebooting", _S.ACTIVE,
           PowerState.RUNNING, None, (_K.REBOOT,), f"{_SERVERS}:reboot", deadline=180),
    Action("reboot-hard", "reboot",
           _states(_S.ACTIVE, _S.STOPPED, _S.PAUSED, _S.SUSPENDED, _S.ERROR), "rebooting_hard",
           _S.ACTIVE, PowerState.RUNNING, None, (_K.REBOOT,), f"{_SERVERS}:reboot"),
    Action("delete", "delete", None, "deleting", _S.DELETED, PowerState.NOSTATE, None,
           (_K.DESTROY,), f"{_SERVERS}:delete", supersedes=True, passes_host=True),
    Action("forceDelete", "delete", None, "deleting", _S.DELETED, PowerState.NOSTATE, None,
           (_K.DESTROY,), "os_compute_api:os-deferred-delete:force", supersedes=True,
           passes_host=True),
    Action("os-resetState", "os-resetState", None, None, None, None, None, (),
           "os_compute_api:os-admin-actions:reset_state", supersedes=True, passes_host=True),
    Action("lock", "lock", None, None, None, None, None, (),
           "os_compute_api:os-lock-server:lock", passes_host=True),
    Action("unlock", "unlock", None, None, None, None, None, (),
           "os_compute_api:os-lock-server:unlock", passes_host=True),
)  # fmt: skip

ACTIONS: dict[str, Action] = {row.verb: row for row in _ROWS}


def asked(verb: str) -> str:
    """The name by which users ask for an action: both kinds of reboot have the same."""
    return "reboot" if verb in ("reboot-soft", "reboot-hard") else verb


OBSERVATIONS: dict[tuple[VmState, Seen], tuple[VmState, PowerState]] = {
    (_S.ACTIVE, Seen.RUNNING): (_S.ACTIVE, PowerState.RUNNING),
    (_S.ACTIVE, Seen.PAUSED): (_S.PAUSED, PowerState.PAUSED),
    (_S.ACTIVE, Seen.OFF): (_S.STOPPED, PowerState.SHUTDOWN),
    (_S.ACTIVE, Seen.CRASHED): (_S.STOPPED, PowerState.CRASHED),
    (_S.ACTIVE, Seen.SAVED): (_S.SUSPENDED, PowerState.SUSPENDED),
    (_S.ACTIVE, Seen.GONE): (_S.STOPPED, PowerState.CRASHED),
    (_S.PAUSED, Seen.RUNNING): (_S.ACTIVE, PowerState.RUNNING),
    (_S.PAUSED, Seen.PAUSED): (_S.PAUSED, PowerState.PAUSED),
    (_S.PAUSED, Seen.OFF): (_S.STOPPED, PowerState.SHUTDOWN),
    (_S.PAUSED, Seen.CRASHED): (_S.STOPPED, PowerState.CRASHED),
    (_S.PAUSED, Seen.SAVED): (_S.SUSPENDED, PowerState.SUSPENDED),
    (_S.PAUSED, Seen.GONE): (_S.STOPPED, PowerState.CRASHED),
    (_S.STOPPED, Seen.RUNNING): (_S.ACTIVE, PowerState.RUNNING),
    (_S.STOPPED, Seen.PAUSED): (_S.PAUSED, PowerState.PAUSED),
    (_S.STOPPED, Seen.SAVED): (_S.SUSPENDED, PowerState.SUSPENDED),
    (_S.SUSPENDED, Seen.RUNNING): (_S.ACTIVE, PowerState.RUNNING),
    (_S.SUSPENDED, Seen.PAUSED): (_S.PAUSED, PowerState.PAUSED),
    (_S.SUSPENDED, Seen.OFF): (_S.STOPPED, PowerState.SHUTDOWN),
    (_S.SUSPENDED, Seen.CRASHED): (_S.STOPPED, PowerState.CRASHED),
    (_S.SUSPENDED, Seen.GONE): (_S.STOPPED, PowerState.CRASHED),
    (_S.POWERED_OFF, Seen.RUNNING): (_S.POWERED_OFF, PowerState.RUNNING),
    (_S.POWERED_OFF, Seen.PAUSED): (_S.POWERED_OFF, PowerState.PAUSED),
    (_S.POWERED_OFF, Seen.OFF): (_S.POWERED_OFF, PowerState.POWER_OFF),
    (_S.POWERED_OFF, Seen.CRASHED): (_S.POWERED_OFF, PowerState.POWER_OFF),
    (_S.POWERED_OFF, Seen.GONE): (_S.POWERED_OFF, PowerState.POWER_OFF),
    (_S.ERROR, Seen.RUNNING): (_S.ERROR, PowerState.RUNNING),
    (_S.ERROR, Seen.PAUSED): (_S.ERROR, PowerState.PAUSED),
    (_S.ERROR, Seen.OFF): (_S.ERROR, PowerState.SHUTDOWN),
    (_S.ERROR, Seen.CRASHED): (_S.ERROR, PowerState.CRASHED),
    (_S.ERROR, Seen.SAVED): (_S.ERROR, PowerState.SUSPENDED),
    (_S.ERROR, Seen.GONE): (_S.ERROR, PowerState.NOSTATE),
}
"""(vm_state, seen) → (vm_state, power_state); a pair that is not here changes nothing.

A machine that was powered off and runs all the same has no room: the ledger bars it from other
hosts at once, and takes its room back before it is active.
"""


_STATUS = {
    VmState.BUILDING: "BUILD",
    VmState.ACTIVE: "ACTIVE",
    VmState.PAUSED: "PAUSED",
    VmState.SUSPENDED: "SUSPENDED",
    VmState.STOPPED: "SHUTOFF",
    VmState.POWERED_OFF: "SHUTOFF",
    VmState.ERROR: "ERROR",
    VmState.DELETED: "DELETED",
}


TASKS_SHOWN = {
    "rebooting": "REBOOT",
    "rebooting_hard": "HARD_REBOOT",
    "resize_migrating": "RESIZE",
    "migrating": "MIGRATING",
}
"""task_states that show over the states of a machine that is or was up."""
_COVERED = (
    VmState.ACTIVE, VmState.STOPPED, VmState.POWERED_OFF, VmState.PAUSED, VmState.SUSPENDED,
)  # fmt: skip


def status_of(vm_state: str, task_state: str | None) -> str:
    """Nova's ``status`` of an instance with these states."""
    if vm_state in _COVERED and task_state in TASKS_SHOWN:
        return TASKS_SHOWN[task_state]
    return _STATUS.get(VmState(vm_state), "UNKNOWN")


def states_of(status: str) -> frozenset[tuple[VmState, str | None]]:
    """The pairs of vm_state and task_state that show as this ``status``; empty when nothing does.

    None as task_state stands for all that are not in :data:`TASKS_SHOWN`.
    """
    return frozenset(
        (state, task)
        for state in VmState
        for task in (None, *TASKS_SHOWN)
        if status_of(state, task) == status.upper()
    )
