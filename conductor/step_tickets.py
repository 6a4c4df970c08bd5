"""Leave to read what a step needs, while it runs: an image, or a disk that lies on another host."""

from __future__ import annotations

import hmac
import secrets

from conductor.agents import refuse_revoked, speaking
from conductor.db.models import Action, Host, Instance, Step
from conductor.orders import images
from conductor.turn import Turn
from paddock.actions import EQUIPPED, StepKind
from paddock.errors import NotFound
from paddock.records import DiskRef, ImageSpec

SECRET_BYTES = 24


def draw(kind: str) -> str | None:
    """A secret for a step that begins; None for one that reads nothing from elsewhere."""
    needs = kind in EQUIPPED or kind == StepKind.FETCH
    return secrets.token_urlsafe(SECRET_BYTES) if needs else None


def open_image(turn: Turn, ticket: str, checksum: str) -> ImageSpec:
    """The image with that checksum, for who works on the ticket's step.

    :raises NotFound: the step does not run, or needs no such image; nothing says which
    :raises Forbidden: the step's host is revoked
    """
    step = _running(turn, ticket)
    if step is not None and step.kind in EQUIPPED:
        action, instance = turn.get(Action, step.action_id), turn.get(Instance, step.instance_id)
        for image in images(turn, action, instance) if action and instance else ():
            if image.checksum == checksum:
                return image
    raise NotFound("There is no such image for this step.")


def open_disk(turn: Turn, host: str, epoch: str, ticket: str) -> DiskRef:
    """The disk on a host that the ticket's step brings to another one.

    :param host: whose agent asks, since it was shown the ticket
    :raises NotFound: the step does not run, or needs no disk of that host's; nothing says which
    :raises StaleEpoch: the caller is not that host's newest agent
    :raises Forbidden: one of the two hosts is revoked
    """
    speaking(turn, host, epoch)
    step = _running(turn, ticket)
    if step is not None and step.kind == StepKind.FETCH:
        instance = turn.get(Instance, step.instance_id)
        if instance is not None and instance.disk_host == host:
            return DiskRef(instance_id=instance.id, generation=instance.disk_generation)
    raise NotFound(f"The ticket that host {host} was shown opens no disk there.")


def _running(turn: Turn, ticket: str) -> Step | None:
    """The ticket's step, if it runs; Forbidden when its host is revoked."""
    step_id, _, secret = ticket.partition(".")
    step = turn.get(Step, step_id)
    if step is None or step.status != "running" or not _is_same(step.ticket, secret):
        return None
    refuse_revoked(turn.get(Host, step.host))
    return step


def _is_same(kept: str | None, told: str) -> bool:
    return kept is not None and hmac.compare_digest(kept.encode(), told.encode())
