"""What a create asks for, read and checked against the catalog."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from conductor import addresses, quota
from conductor.callers import check_current
from conductor.db.models import Flavor, Host, Image
from conductor.placement import zone_exists
from conductor.policy import Policy
from conductor.turn import Turn
from paddock.context import RequestContext
from paddock.errors import BadRequest
from paddock.records import CreateRequest, FlavorRecord

CREATE = "os_compute_api:servers:create"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Order:
    """A checked create: its rows, its ports and how many instances the quota lets through."""

    request: CreateRequest
    project_id: str
    user_id: str
    image: Image
    flavor: Flavor
    ports: list[addresses.WantedPort]
    count: int


def check_create(turn: Turn, policy: Policy, ctxt: RequestContext, request: CreateRequest) -> Order:
    """Check a create up to, and with, the project's quota.

    :raises BadRequest: image, flavor, network or zone do not exist or do not fit each other
    :raises PaddockError: other refusals
    """
    check_current(turn, ctxt)
    policy.check(ctxt, CREATE)
    if request.host is not None:
        policy.check(ctxt, f"{CREATE}:forced_host")
    image = _image(turn, ctxt, request.image_id)
    flavor = _flavor(turn, ctxt, request.flavor_id)
    _check_fit(image, flavor)
    _check_place(turn, request)
    most = len(request.instance_ids)
    ports = addresses.wanted_ports(turn, ctxt.project_id, request.networks, most)
    project_id, user_id = str(ctxt.project_id), str(ctxt.user_id)
    count = quota.fitting(turn, project_id, flavor, request.min_count, most)
    return Order(request, project_id, user_id, image, flavor, ports, count)


def _image(turn: Turn, ctxt: RequestContext, key: str) -> Image:
    image = turn.get(Image, key)
    mine = image is not None and (
        image.owner == ctxt.project_id
        or image.visibility in ("public", "community")
        or "admin" in ctxt.roles
    )
    if image is None or not mine:
        raise BadRequest(f"imageRef: Can not find requested image {key}.")
    if image.status != "active":
        raise BadRequest(f"imageRef: Image {key} is not active.")
    if image.container_format != "bare":
        raise BadRequest(f"imageRef: Image {key} is a kernel or ramdisk, not a disk.")
    return image


def _flavor(turn: Turn, ctxt: RequestContext, key: str) -> Flavor:
    flavor = turn.get(Flavor, key)
    everyone = flavor is not None and flavor.is_public and not flavor.disabled
    if flavor is None or not (everyone or "admin" in ctxt.roles):
        raise BadRequest(f"flavorRef: Flavor {key} could not be found.")
    return flavor


def _check_fit(image: Image, flavor: Flavor) -> None:
    if flavor.memory_mb < image.min_ram:
        raise BadRequest(
            f"flavorRef: Flavor's memory of {flavor.memory_mb} MiB is too small for requested "
            f"image, which needs {image.min_ram} MiB."
        )
    if flavor.disk_gb < image.min_disk:
        raise BadRequest(
            f"flavorRef: Flavor's disk of {flavor.disk_gb} GiB is too small for requested image, "
            f"which needs {image.min_disk} GiB."
        )


def _check_place(turn: Turn, request: CreateRequest) -> None:
    if request.zone is not None and not zone_exists(turn, request.zone):
        raise BadRequest(
            f"availability_zone: The requested availability zone {request.zone} does not exist."
        )
    if request.host is not None and turn.get(Host, request.host) is None:
        raise BadRequest(f"host: Compute host {request.host} could not be found.")


def flavor_document(flavor: Flavor) -> dict[str, object]:
    """The flavor's record, kept with the instance, since flavors come and go."""
    names = [column.key for column in sa.inspect(Flavor).column_attrs]
    fields = {name: getattr(flavor, name) for name in names}
    document: dict[str, object] = msgspec.to_builtins(FlavorRecord(**fields))
    return document
