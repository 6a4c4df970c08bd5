"""Who keeps the machine after a move of which nobody saw the end: one table."""

from __future__ import annotations

from typing import Literal

from paddock.records import Found

How = Literal["launch", "live"]
Here = Literal["running", "guest", "disk", "nothing", "gone", "untold"]
Keeper = Literal["source", "target", "nobody", "ask"]

LAUNCH: How = "launch"
LIVE: How = "live"
UNTOLD: Here = "untold"

KEEPER: dict[tuple[How, Here, Here], Keeper] = {
    ("launch", "disk", "guest"): "target",
    ("launch", "disk", "disk"): "target",
    ("launch", "disk", "nothing"): "source",
    ("launch", "gone", "guest"): "target",
    ("launch", "gone", "disk"): "target",
    ("launch", "gone", "nothing"): "nobody",
    ("live", "running", "untold"): "source",
    ("live", "disk", "untold"): "ask",
    ("live", "disk", "guest"): "target",
    ("live", "disk", "disk"): "source",
    ("live", "disk", "nothing"): "source",
    ("live", "gone", "guest"): "target",
    ("live", "gone", "disk"): "nobody",
    ("live", "gone", "nothing"): "nobody",
}
"""(how it moved, what the source has, what the target has) → who keeps the machine.

*launch*: its disk was copied and verified, then it was launched from the copy, which what was
launched may have written to: so the target's is never the worse one. *live*: the disk there is
worth nothing until the guest was handed over with it, and then the target has the guest and the
source has not, or has it standing still. ``running`` is said by a source that has ended the
sending: then nothing was handed over, unless libvirt's last answer got lost (docs/hypervisor.md).
``ask``: the target must tell first.
"""


def at_target(generation: int, thing: Found | None) -> Here:
    """What the host has of what was on its way there, by the generation that it was to have."""
    if thing is None:
        return "nothing"
    if thing.generation == generation:
        return "guest"
    return "disk" if generation in thing.disks else "nothing"


def keeper(how: How, source: Here, target: Here) -> Keeper:
    """Look it up."""
    return KEEPER[how, source, target]
