"""The paths under which one resource is reached, brought to one form before routing.

Compute answers under ``/compute/v2.1``, ``/v2.1`` and ``/v2``, each with or without a project's
id behind it; with or without a trailing slash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

COMPUTE = "/compute/v2.1"
COLLECTIONS = frozenset(
    {
        "drains",
        "flavors",
        "os-aggregates",
        "os-availability-zone",
        "os-hosts",
        "os-hypervisors",
        "os-services",
        "servers",
        "services",
    }
)
_MOUNT = re.compile(r"(?:/compute)?/v2(?:\.1)?(?=/|$)")


@dataclass(frozen=True)
class Place:
    """What a path means.

    :ivar service: ``compute``, ``identity``, ``image`` or empty
    :ivar path: the form that is routed
    :ivar prefix: what the client wrote before the resource, for links
    :ivar tenant: the project named in the path
    """

    service: str
    path: str
    prefix: str = ""
    tenant: str | None = None


def locate(path: str) -> Place:
    """What a path means; one that means nothing is returned as it is."""
    path = path.rstrip("/")
    for service in ("identity", "image"):
        if path == f"/{service}" or path.startswith(f"/{service}/"):
            return Place(service, path, f"/{service}")
    if path in ("", "/compute"):
        return Place("compute", "/compute", "/compute")
    if mount := _MOUNT.match(path):
        return _locate_compute(mount.group(), path[mount.end() :])
    return Place("", path)


def _locate_compute(mount: str, rest: str) -> Place:
    if not rest:
        return Place("compute", f"/compute/{mount.rpartition('/')[2]}", mount)
    parts = rest.split("/")
    tenant = None
    if parts[1] not in COLLECTIONS and len(parts) > 2 and parts[2] in COLLECTIONS:
        tenant = parts.pop(1)
        mount = f"{mount}/{tenant}"
    return Place("compute", COMPUTE + "/".join(parts), mount, tenant)
