"""Leave to read images: what a host may have while it works on a step that needs them."""

from __future__ import annotations

import hmac
import secrets

from conductor.agents import refuse_revoked
from conductor.db.models import Action, Host, Instance, Step
from conductor.orders import images
from conductor.turn import Turn
from paddock.errors import NotFound
from paddock.records import ImageSpec

SECRET_BYTES = 24


def draw() -> str:
    """A secret for a step that begins."""
    return secrets.token_urlsafe(SECRET_BYTES)


def open_image(turn: Turn, ticket: str, checksum: str) -> ImageSpec:
    """The image with that checksum, for who works on the ticket's step.

    :raises NotFound: the step does not run, or needs no such image; nothing says which
    :raises Forbidden: the step's host is revoked
    """
    step_id, _, secret = ticket.partition(".")
    step = turn.get(Step, step_id)
    if step is not None and step.status == "running" and _is_same(step.ticket, secret):
        refuse_revoked(turn.get(Host, step.host))
        action, instance = turn.get(Action, step.action_id), turn.get(Instance, step.instance_id)
        for image in images(turn, action, instance) if action and instance else ():
            if image.checksum == checksum:
                return image
    raise NotFound("There is no such image for this step.")


def _is_same(kept: str | None, told: str) -> bool:
    return kept is not None and hmac.compare_digest(kept.encode(), told.encode())
