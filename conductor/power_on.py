"""Powering on: on the disk's own host, or on another one to which the disk moves first."""

from __future__ import annotations

from conductor import leftovers
from conductor.checks import Case
from conductor.db.models import Host
from conductor.placement import barred, claim_first, is_up, zone_exists
from conductor.plan import Plan
from conductor.routing import Route, Wish
from paddock.actions import ACTIONS, StepKind
from paddock.errors import HostUnavailable, NoValidHost, PaddockError, ZoneUnavailable


def place(case: Case) -> Plan:
    """Claim room for a powered-off machine, and say which steps take it there.

    :raises ZoneUnavailable: (NoValidHost for ``os-start``) the zone is unknown, no host in it can
        take the machine, or the disk lies on a host that is not up; disks are not shared, so such
        a machine waits for its host
    :raises HostUnavailable: it is not known yet what became of the last launch
    """
    zone = case.request.params.get("availability_zone")
    if zone is not None and not zone_exists(case.turn, zone):
        raise _refusal(case, f"availability_zone: The zone {zone} does not exist.")
    _check_launch_is_known(case)
    source = str(case.instance.disk_host)
    _check_disk(case, source)
    target = claim_first(
        case.turn,
        case.instance,
        _wish(case, zone, source),
        case.request.action_id,
        lambda found: _no_host(case, zone, found),
    )
    if target == source:
        return [(StepKind.LAUNCH, source)]
    return [(StepKind.FETCH, target), (StepKind.LAUNCH, target), (StepKind.DISCARD, source)]


def _wish(case: Case, zone: str | None, source: str) -> Wish:
    instance = case.instance
    return Wish(
        vcpus=instance.vcpus,
        memory_mb=instance.memory_mb,
        disk_gb=instance.disk_gb,
        zone=zone,
        disk_host=source,
        barred=barred(case.turn, instance.id),
    )


def _check_launch_is_known(case: Case) -> None:
    for row in leftovers.of_instance(case.turn, case.instance.id, leftovers.GUEST):
        raise HostUnavailable(
            f"Host {row.host} has not reported yet what became of the last launch of instance "
            f"{case.instance.id}."
        )


def _check_disk(case: Case, source: str) -> None:
    host = case.turn.get(Host, source)
    if host is None or not is_up(host):
        raise _refusal(
            case,
            f"The disk of instance {case.instance.id} lies on host {source}, which is not up, and "
            "is not shared with other hosts.",
        )


def _no_host(case: Case, zone: str | None, found: Route) -> PaddockError:
    where = f"in zone {zone} " if zone else ""
    return _refusal(case, f"No host {where}can take instance {case.instance.id}: {found.why()}.")


def _refusal(case: Case, message: str) -> PaddockError:
    kind: type[PaddockError] = NoValidHost
    if ACTIONS[case.request.verb].power_errors:
        kind = ZoneUnavailable
    return kind(message)
