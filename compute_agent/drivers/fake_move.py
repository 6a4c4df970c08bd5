"""How guests of the fake hypervisor change hosts while they run: between two directories."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec.structs import replace

from compute_agent.disks import DiskStore, readable
from compute_agent.drivers.base import Launch
from compute_agent.drivers.fake_guest import GuestFiles
from compute_agent.sparse import copy, data_size
from paddock.actions import Seen
from paddock.errors import GuestGone


def needs_handing_over(here: GuestFiles, there: GuestFiles, instance_id: str) -> bool:
    """Whether a guest is still to be handed over; one that an attempt before this one left standing
    goes on here, or has gone there."""
    with here.lock():
        guest, arrived = here.load(instance_id), there.load(instance_id)
        if guest is None:
            return False
        if guest.seen is Seen.PAUSED and arrived is not None:
            here.end(instance_id)
            return False
        if guest.seen is Seen.PAUSED:
            here.change(guest, Seen.RUNNING)
        elif guest.seen is not Seen.RUNNING:
            raise GuestGone(f"The guest {instance_id} is {guest.seen}.")
    return True


def hand_over(
    guests: GuestFiles, disks: DiskStore, landing: Path, instance_id: str, launch: Launch
) -> None:
    """Copy the disk, then let the guest stand still here, run there, and be gone from here.

    :param landing: the other host's directory
    """
    launch.may_launch()
    guest = guests.load(instance_id)
    if guest is None:
        raise GuestGone(f"The guest {instance_id} has gone.")
    name = disks.path(instance_id, launch.disk_generation).name
    with (
        readable(f"Sending the disk of {instance_id}"),
        disks.open(instance_id, guest.disk_generation) as source,
        (landing / "disks" / name).open("r+b") as target,
    ):
        target.truncate(0)  # an attempt before this one may have written to it
        target.truncate(os.fstat(source.fileno()).st_size)
        copy(source, target, launch.work, total=data_size(source))
    with guests.lock():
        still = guests.change(guest, Seen.PAUSED)
        coming = replace(
            still, generation=guest.generation + 1, launched_by=launch.action_id,
            disk_generation=launch.disk_generation,
        )  # fmt: skip
        GuestFiles(landing / "guests").change(coming, Seen.RUNNING)
        guests.end(instance_id)
