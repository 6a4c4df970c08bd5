"""Powering on: on the disk's own host, or on another one to which the disk moves first."""

from __future__ import annotations

from conductor import leftovers
from conductor.db.models import Action, Host, Instance
from conductor.placement import barred, capabilities, claim_first, is_up, zone_exists
from conductor.plan import Plan
from conductor.routing import Route, Wish
from conductor.turn import Turn
from paddock.actions import StepKind
from paddock.errors import HostUnavailable, PaddockError


def place(turn: Turn, instance: Instance, action: Action, refusal: type[PaddockError]) -> Plan:
    """Claim room for a powered-off machine, and say which steps take it there.

    :param action: may ask for a zone
    :param refusal: raised when the zone is unknown, no host in it can take the machine, or the
        disk lies on a host that is not up; disks are not shared, so such a machine waits for it
    :raises HostUnavailable: it is not known yet what became of the last launch
    """
    zone = action.params.get("availability_zone")
    if zone is not None and not zone_exists(turn, zone):
        raise refusal(f"availability_zone: The zone {zone} does not exist.")
    check_launch_is_known(turn, instance)
    source = turn.get(Host, str(instance.disk_host))
    if source is None or not is_up(source):
        raise refusal(_without_disk(instance))
    return _plan(turn, instance, action, _wish(turn, instance, zone, source), refusal)


def _plan(
    turn: Turn, instance: Instance, action: Action, wish: Wish, refusal: type[PaddockError]
) -> Plan:
    source = str(instance.disk_host)
    target = claim_first(
        turn,
        instance,
        wish,
        action.id,
        lambda found: refusal(_nowhere(instance, wish.zone, found)),
    )
    if target == source:
        return [(StepKind.LAUNCH, source)]
    return [(StepKind.FETCH, target), (StepKind.LAUNCH, target), (StepKind.DISCARD, source)]


def _wish(turn: Turn, instance: Instance, zone: str | None, source: Host) -> Wish:
    return Wish(
        vcpus=instance.vcpus,
        memory_mb=instance.memory_mb,
        disk_gb=instance.disk_gb,
        zone=zone,
        disk_host=source.name,
        disk_moves="move" in capabilities(source),
        barred=barred(turn, instance.id),
    )


def check_launch_is_known(turn: Turn, instance: Instance) -> None:
    """Raise HostUnavailable while a host has not said what became of the last launch."""
    check_arrival_is_known(turn, instance)
    for row in leftovers.of_instance(turn, instance.id, leftovers.GUEST):
        raise HostUnavailable(
            f"Host {row.host} has not reported yet what became of the last launch of instance "
            f"{instance.id}."
        )


def check_arrival_is_known(turn: Turn, instance: Instance) -> None:
    """Raise HostUnavailable while a host has not said whether a machine came there live."""
    for row in leftovers.of_instance(turn, instance.id, leftovers.ARRIVAL):
        raise HostUnavailable(
            f"Host {row.host} has not reported yet whether instance {instance.id} runs there now."
        )


def _without_disk(instance: Instance) -> str:
    return (
        f"The disk of instance {instance.id} lies on host {instance.disk_host}, which is not up, "
        "and is not shared with other hosts."
    )


def _nowhere(instance: Instance, zone: str | None, found: Route) -> str:
    where = f"in zone {zone} " if zone else ""
    return f"No host {where}can take instance {instance.id}: {found.why()}."
