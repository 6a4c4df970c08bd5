"""What a project may hold: counters beside its instances, bounded by the configured quota."""

from __future__ import annotations

from conductor.db.models import Flavor, Instance, Project
from conductor.db.statements import More, Room
from conductor.turn import Turn
from paddock.errors import QuotaExceeded


def fitting(turn: Turn, project_id: str, flavor: Flavor, least: int, most: int) -> int:
    """How many instances of a flavor the project's quota still has room for.

    :param least: QuotaExceeded when there is room for fewer
    :param most: never more than these
    """
    project = turn.get(Project, project_id)
    if project is None:
        raise QuotaExceeded(f"Project {project_id} is unknown here and has no quota.")
    conf = turn.conf
    sizes = {
        "instances": (conf.quota_instances, project.used_instances, 1),
        "cores": (conf.quota_cores, project.used_cores, flavor.vcpus),
        "ram": (conf.quota_memory_mb, project.used_memory_mb, flavor.memory_mb),
    }
    for name, (limit, used, size) in sizes.items():
        room = most if limit < 0 or not size else (limit - used) // size
        if room < least:
            raise QuotaExceeded(
                f"Quota exceeded for {name}: Requested {least * size}, but already used {used} "
                f"of {limit} {name}."
            )
        most = min(most, room)
    return most


def take(turn: Turn, project_id: str, count: int, vcpus: int, memory_mb: int) -> None:
    """Count new instances of one size; Moved when the quota's room has gone meanwhile."""
    conf = turn.conf
    limits = {
        "used_instances": (count, conf.quota_instances),
        "used_cores": (count * vcpus, conf.quota_cores),
        "used_memory_mb": (count * memory_mb, conf.quota_memory_mb),
    }
    room = [Room(name, more, None, limit) for name, (more, limit) in limits.items() if limit >= 0]
    counts = {name: More(more) for name, (more, _) in limits.items()}
    turn.must(Project, {"id": project_id}, *room, **counts)


def release(turn: Turn, instance: Instance) -> None:
    """Count a deleted instance no longer."""
    turn.change(
        Project,
        {"id": instance.project_id},
        used_instances=More(-1),
        used_cores=More(-instance.vcpus),
        used_memory_mb=More(-instance.memory_mb),
    )
