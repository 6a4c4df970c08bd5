"""Makes ``docs/states.md`` from the tables in ``paddock/actions.py``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from docs.tables import code, table
from paddock.actions import (
    ACTIONS,
    CLEANING,
    LAUNCHING,
    MOVING,
    OBSERVATIONS,
    Action,
    PowerState,
    StepKind,
    VmState,
    status_of,
)

Edges = Mapping[tuple[str, str], list[str]]
"""(source, target) → what leads from one to the other."""

PAGE = """\
# States of an instance

Made from `paddock/actions.py` by `.venv/bin/python -m docs`: edit the tables there, not this page.

`vm_state` is what the user may rely on, `task_state` names the action that is going on, and
`power_state` is what the hypervisor last said. `status` is what clients show; it follows from the
first two.

{status}
While an active, paused, suspended or stopped instance reboots, its status is REBOOT or HARD_REBOOT.

`power_state` is one of {power}.
The numbers are Nova's; POWER_OFF is Paddock's own.

## What users ask for

An edge is an action that succeeded, or one that failed where the table names a state for that.
Not drawn are actions that are accepted in every state
({anywhere}) and those that leave the state as it is.

{actions_picture}
{actions}
- *Allowed in*: other states are refused with 409, by `vm-poweroff` and `vm-poweron` with 400.
- *After a failure*: empty where the instance keeps the state that it had.
- *Steps*: run in this order, each on one host. Those that may launch a guest: {launching}.
  Those that move data, with worker slots of their own: {moving}. Clean-up, for which nobody waits
  and which never fails an action: {cleaning}. `vm-poweron` on the host where the disk lies
  is only a `launch`.
- *Deadline*: seconds for each step; `[conductor] deadlines` changes it by verb.
- *Needs*: what the host's driver must be able to do beyond the mandatory part.
- *Also*: `supersedes` ends another action that is going on; `host may be down` is accepted
  whatever became of the host.

## What hypervisors show

An idle instance becomes what its hypervisor shows. A pair that is not in the table changes nothing.

{observations_picture}
{observations}"""


def render() -> str:
    """The page."""
    return PAGE.format(
        status=table(
            ["`vm_state`", "`status`"],
            ([code(state), status_of(state, None)] for state in VmState),
        ),
        power=", ".join(f"{state.name} ({state.value})" for state in PowerState),
        anywhere=_codes(row.verb for row in ACTIONS.values() if row.allowed is None),
        actions_picture=_picture(_action_edges()),
        actions=_action_table(),
        launching=_codes(kind for kind in StepKind if kind in LAUNCHING),
        moving=_codes(kind for kind in StepKind if kind in MOVING),
        cleaning=_codes(kind for kind in StepKind if kind in CLEANING),
        observations_picture=_picture(_observation_edges()),
        observations=_observation_table(),
    )


def _codes(names: Iterable[str]) -> str:
    return ", ".join(code(name) for name in names)


def _picture(edges: Edges) -> str:
    lines = [f"    {a} --> {b}: {', '.join(why)}" for (a, b), why in edges.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def _action_edges() -> Edges:
    edges: dict[tuple[str, str], list[str]] = {}
    for row in ACTIONS.values():
        for source in _sources(row):
            if row.success not in (None, source):
                edges.setdefault((source, str(row.success)), []).append(row.verb)
            if row.failure not in (None, source):
                edges.setdefault((source, str(row.failure)), []).append(f"{row.verb} failed")
    return {("[*]", VmState.BUILDING.value): ["accepted"], **edges}


def _sources(row: Action) -> list[str]:
    """The states that a drawn action leads away from; a create's is its own."""
    if row.verb == "create":
        return [VmState.BUILDING.value]
    return _ordered(row.allowed or ())


def _ordered(states: Iterable[VmState]) -> list[str]:
    return [state.value for state in VmState if state in set(states)]


def _action_table() -> str:
    columns = ["Verb", "Allowed in", "`task_state`", "`vm_state` after", "`power_state` after",
               "After a failure", "Steps", "Deadline", "Needs", "Also", "Policy rule"]  # fmt: skip
    return table(columns, (_action_row(row) for row in ACTIONS.values()))


def _action_row(row: Action) -> list[str]:
    also = {"supersedes": row.supersedes, "host may be down": row.passes_host}
    return [
        code(row.verb),
        "every state" if row.allowed is None else ", ".join(_ordered(row.allowed)) or "(new)",
        row.task_state or "",
        row.success or "",
        row.power.name if row.power is not None else "",
        row.failure or "",
        ", ".join(row.steps),
        str(row.deadline) if row.steps else "",
        row.capability or "",
        ", ".join(name for name, holds in also.items() if holds),
        code(row.policy),
    ]


def _observation_edges() -> Edges:
    edges: dict[tuple[str, str], list[str]] = {}
    for (state, seen), (becomes, _) in OBSERVATIONS.items():
        if becomes != state:
            edges.setdefault((state.value, becomes.value), []).append(seen.value)
    return edges


def _observation_table() -> str:
    rows = (
        [state.value, seen.value, becomes.value, power.name]
        for (state, seen), (becomes, power) in OBSERVATIONS.items()
    )
    return table(["`vm_state`", "Seen", "`vm_state` then", "`power_state` then"], rows)
