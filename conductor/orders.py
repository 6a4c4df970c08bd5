"""What ``start`` answers: the work order with all that a worker needs."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from conductor import addresses
from conductor.db.models import Action, Host, Image, Instance, Step
from conductor.turn import Turn
from paddock.actions import EQUIPPED, StepKind
from paddock.records import DirectBoot, DiskSource, GuestSpec, ImageSpec, Landing, WorkOrder

COMING = (StepKind.FETCH, StepKind.RECEIVE, StepKind.SEND, StepKind.ARRIVE)


def work_order(turn: Turn, step: Step, action: Action, instance: Instance) -> WorkOrder:
    """The order of a running step, from rows as they are now."""
    assert step.deadline is not None
    ticket = f"{step.id}.{step.ticket}" if step.ticket else ""
    return WorkOrder(
        step_id=step.id,
        action_id=action.id,
        request_id=action.request_id,
        kind=StepKind(step.kind),
        attempt=step.attempt,
        seconds=max(0.0, (step.deadline - turn.now).total_seconds()),
        params=action.params,
        guest=_coming(step, _guest(turn, action, instance, ticket, step.kind in EQUIPPED)),
        disk_generation=_disk_generation(step, action, instance),
        source=_source(turn, instance, ticket) if step.kind == StepKind.FETCH else None,
        landing=_landing(turn, action) if step.kind == StepKind.SEND else None,
    )


def _coming(step: Step, guest: GuestSpec) -> GuestSpec:
    """A guest that comes running has the generation that its machine gets when it has arrived."""
    if step.kind not in (StepKind.RECEIVE, StepKind.ARRIVE):
        return guest
    return msgspec.structs.replace(guest, generation=guest.generation + 1)


def _landing(turn: Turn, action: Action) -> Landing:
    query = sa.select(Step).where(Step.action_id == action.id, Step.kind == StepKind.RECEIVE)
    receive = turn.first(query)
    host = turn.get(Host, receive.host) if receive else None
    assert host is not None
    facts = host.facts
    return Landing(
        host=host.name,
        address=str(facts.get("address", "")),
        directory=str(facts.get("landing", "")),
    )


def _disk_generation(step: Step, action: Action, instance: Instance) -> int:
    """The generation in the name of the disk on the step's host.

    A copy gets the generation that the instance has once it is launched from it, or has arrived.
    """
    if step.kind in COMING:
        return instance.generation + 1
    if step.kind == StepKind.LAUNCH and step.host != instance.disk_host:
        return instance.generation
    if step.kind == StepKind.DISCARD:
        return _last_before(action)
    return instance.disk_generation


def _last_before(action: Action) -> int:
    """The highest generation that anything has which an action's move leaves behind."""
    before = action.before
    return int(before.get("generation", before["disk_generation"]))


def images(turn: Turn, action: Action, instance: Instance) -> list[ImageSpec]:
    """The images that a host needs for the action."""
    guest = _guest(turn, action, instance, "", launches=True)
    boot = [guest.boot.kernel, guest.boot.ramdisk] if guest.boot else []
    return [image for image in (guest.image, *boot) if image is not None]


def _guest(
    turn: Turn, action: Action, instance: Instance, ticket: str, launches: bool
) -> GuestSpec:
    """The image goes along only to make the first disk: a lost disk is never made anew.

    :param launches: whether the guest may be launched by it, and so needs its ports and image
    """
    image = turn.get(Image, instance.image_id) if launches and instance.image_id else None
    return GuestSpec(
        id=instance.id,
        name=instance.name,
        project_id=instance.project_id,
        generation=instance.generation,
        vcpus=instance.vcpus,
        memory_mb=instance.memory_mb,
        disk_gb=instance.disk_gb,
        image=_spec(image, ticket) if image and action.verb == "create" else None,
        ports=addresses.specs(turn, instance.id) if launches else [],
        metadata=instance.details.get("metadata", {}),
        boot=_boot(turn, image, ticket) if image else None,
    )


def _boot(turn: Turn, image: Image, ticket: str) -> DirectBoot | None:
    """The image's kernel and ramdisk, which are images, too."""
    if not image.properties.get("kernel_id"):
        return None
    kernel = turn.get(Image, image.properties["kernel_id"])
    ramdisk = turn.get(Image, image.properties.get("ramdisk_id", ""))
    assert kernel is not None
    return DirectBoot(
        kernel=_spec(kernel, ticket),
        ramdisk=_spec(ramdisk, ticket) if ramdisk else None,
        command_line=str(image.properties.get("os_command_line", "")),
    )


def _spec(image: Image, ticket: str) -> ImageSpec:
    return ImageSpec(
        id=image.id,
        name=image.name,
        file=image.file,
        disk_format=image.disk_format,
        checksum=image.checksum,
        ticket=ticket,
        size=image.size,
    )


def _source(turn: Turn, instance: Instance, ticket: str) -> DiskSource:
    host = turn.get(Host, str(instance.disk_host))
    return DiskSource(
        host=str(instance.disk_host),
        store=str(host.facts.get("store", "")) if host else "",
        generation=instance.disk_generation,
        ticket=ticket,
    )
