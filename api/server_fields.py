"""The fields by which lists of servers are narrowed and sorted: what is admitted is served.

Values are the conductor's names of the fields, if not said otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from paddock.records import InstanceRecord

ROOT_DEVICE = "/dev/vda"
_UNFIT = re.compile("[^a-z0-9]")


def hostname_of(name: str) -> str:
    """The host name that a server of that name shows."""
    return _UNFIT.sub("-", name.lower()).strip("-")[:63] or "server"


_BOTH = {
    "availability_zone": "zone",
    "created_at": "created_at",
    "display_description": "description",
    "display_name": "name",
    "host": "host",
    "image_ref": "image_id",
    "instance_type_id": "flavor",
    "launch_index": "launch_index",
    "launched_at": "launched_at",
    "locked_by": "locked_by",
    "node": "host",
    "power_state": "power_state",
    "project_id": "project_id",
    "task_state": "task_state",
    "terminated_at": "terminated_at",
    "user_id": "user_id",
    "uuid": "id",
    "vm_state": "vm_state",
}
NARROWING = _BOTH | {
    "description": "description",
    "fixed_ip": "ip",
    "flavor": "flavor",
    "image": "image_id",
    "ip": "ip",
    "ip6": "ip",
    "name": "name",
    "reservation_id": "reservation_id",
    "status": "status",
    "tenant_id": "project_id",
}
SORTING = _BOTH | {"hostname": "name", "locked": "locked", "updated_at": "updated_at"}
SHOWN: dict[str, Callable[[InstanceRecord], str]] = {
    "hostname": lambda record: hostname_of(record.name),
    "progress": lambda record: str(record.progress),
}
"""What the ledger does not have, from what a server shows."""
COMMON: dict[str, str | bool] = {
    "access_ip_v4": "",
    "access_ip_v6": "",
    "auto_disk_config": False,
    "config_drive": False,
    "kernel_id": "",
    "key_name": "",
    "ramdisk_id": "",
    "root_device_name": ROOT_DEVICE,
}
"""What is the same for all servers of this cloud, as filters' values."""
WITH_TAGS = ("tags", "tags-any")
WITHOUT_TAGS = ("not-tags", "not-tags-any")

FILTERS = (*NARROWING, *SHOWN, *COMMON, *WITH_TAGS, *WITHOUT_TAGS)
UNSORTED = ("progress", *COMMON)
"""Sort keys that leave the order to the next ones."""
SORT_KEYS = tuple(sorted({*SORTING, *UNSORTED}))
TIMES = ("created_at", "launched_at", "terminated_at")
NUMBERS = ("launch_index", "power_state", "progress")
FLAGS = tuple(name for name, value in COMMON.items() if isinstance(value, bool))
