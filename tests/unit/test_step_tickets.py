"""A step's ticket opens its images while it runs, and not for a host that is cut off."""

from __future__ import annotations

import pytest

from conductor import hosts
from conductor.step_tickets import open_image
from paddock.errors import Forbidden
from paddock.records import ImageSpec
from tests.fixtures.lab import Lab


def launching(lab: Lab) -> ImageSpec:
    """The image of a launch that runs on h1, with its ticket."""
    lab.ledger.create(lab.ledger.admin, host="h1")
    image: ImageSpec = lab.started("h1").guest.image
    return image


def opened(lab: Lab, image: ImageSpec) -> str:
    """The id of the image that the ticket opens."""
    return lab.ledger.turns.read(lambda turn: open_image(turn, image.ticket, image.checksum)).id


def test_a_ticket_opens_the_image_of_a_step_that_runs(lab: Lab) -> None:
    image = launching(lab)
    assert opened(lab, image) == image.id


def test_a_revoked_hosts_tickets_open_nothing(lab: Lab) -> None:
    image = launching(lab)
    lab.ledger.turns.run(lambda turn: hosts.revoke(turn, "h1"))
    with pytest.raises(Forbidden):
        opened(lab, image)
