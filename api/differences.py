"""The one table of what differs between microversions, for answers and for requests.

Documents are named as handlers name them (``server``); requests have the operation's name
(``server-create``), queries end in ``?``. Source: the compute API's public microversion history.
"""

from __future__ import annotations

from typing import Any

from api.microversions import Added, Changed, Differences, Removed, Row, Served, Strict

ATTR = "OS-EXT-SRV-ATTR"


def _minimal_update(server: dict[str, Any]) -> None:
    """Before 2.75 the answer to an update lacks what only the full document has."""
    for name in [name for name in server if name.startswith(("OS-EXT", "OS-SRV", "os-ext"))]:
        del server[name]
    for name in ("config_drive", "key_name", "security_groups", "host_status"):
        server.pop(name, None)


def _empty_swap(flavor: dict[str, Any]) -> None:
    """Before 2.75 no swap is an empty string."""
    if flavor.get("swap") == 0:
        flavor["swap"] = ""


def _text_cpu(hypervisor: dict[str, Any]) -> None:
    """Before 2.28 the processor's description is a string."""
    if "cpu_info" in hypervisor:
        hypervisor["cpu_info"] = ""


def _no_empty_servers(hypervisor: dict[str, Any]) -> None:
    """Before 2.75 a hypervisor without servers has no list of them."""
    if hypervisor.get("servers") == []:
        del hypervisor["servers"]


def number_of(identifier: str) -> int:
    """The number that stands for a UUID where an old version wants one."""
    return int(identifier.replace("-", "")[:7], 16)


def _numeric(document: dict[str, Any]) -> None:
    """Before 2.53 services and hypervisors have numbers for ids."""
    document["id"] = number_of(document["id"])
    if "service" in document:
        document["service"]["id"] = number_of(document["service"]["id"])


ROWS: tuple[Row, ...] = (
    Added((2, 3), "server", (f"{ATTR}:hostname", f"{ATTR}:reservation_id",
                             f"{ATTR}:launch_index", f"{ATTR}:kernel_id", f"{ATTR}:ramdisk_id",
                             f"{ATTR}:root_device_name", f"{ATTR}:user_data")),
    Added((2, 9), "server", ("locked",)),
    Added((2, 11), "os-service", ("forced_down",)),
    Served("os-service-force-down", since=(2, 11), before=(2, 53)),
    Added((2, 16), "server", ("host_status",)),
    Added((2, 19), "server", ("description",)),
    Added((2, 19), "server-create", ("description",)),
    Added((2, 19), "server-update", ("description",)),
    Served("instance-actions-of-the-deleted", since=(2, 21)),
    Added((2, 26), "server", ("tags",)),
    Added((2, 26), "servers?", ("tags", "tags-any", "not-tags", "not-tags-any")),
    Served("server-tags", since=(2, 26)),
    Changed((2, 28), "hypervisor", _text_cpu),
    Added((2, 33), "hypervisors?", ("limit", "marker")),
    Added((2, 41), "aggregate", ("uuid",)),
    Removed((2, 25), "server-os-migrateLive", ("disk_over_commit",)),
    Added((2, 30), "server-os-migrateLive", ("force",)),
    Removed((2, 68), "server-os-migrateLive", ("force",)),
    Removed((2, 47), "server-flavor", ("id", "links")),
    Added((2, 47), "server-flavor", ("vcpus", "ram", "disk", "ephemeral", "swap",
                                     "original_name")),
    Added((2, 51), "instance-action-for-members", ("events",)),
    Added((2, 52), "server-create", ("tags",)),
    Changed((2, 53), "os-service", _numeric),
    Changed((2, 53), "hypervisor", _numeric),
    Served("os-host-update", before=(2, 43)),
    Served("os-service-update", since=(2, 53)),
    Served("os-service-enable", before=(2, 53)),
    Served("os-service-disable", before=(2, 53)),
    Served("os-service-disable-log-reason", before=(2, 53)),
    Added((2, 53), "hypervisors?", ("hypervisor_hostname_pattern", "with_servers")),
    Added((2, 53), "hypervisor?", ("with_servers",)),
    Added((2, 53), "hypervisor", ("servers",)),
    Added((2, 55), "flavor", ("description",)),
    Added((2, 55), "flavor-create", ("description",)),
    Served("flavor-update", since=(2, 55)),
    Added((2, 56), "server-migrate", ("host",)),
    Removed((2, 57), "server-create", ("personality",)),
    Added((2, 58), "instance-action", ("updated_at",)),
    Added((2, 58), "instance-actions?", ("limit", "marker", "changes-since")),
    Added((2, 61), "flavor", ("extra_specs",)),
    Added((2, 61), "server-flavor", ("extra_specs",)),
    Added((2, 62), "instance-action-event", ("host", "hostId")),
    Added((2, 63), "server", ("trusted_image_certificates",)),
    Added((2, 63), "server-create", ("trusted_image_certificates",)),
    Added((2, 66), "servers?", ("changes-before",)),
    Added((2, 66), "instance-actions?", ("changes-before",)),
    Added((2, 71), "server", ("server_groups",)),
    Added((2, 73), "server", ("locked_reason",)),
    Added((2, 73), "servers?", ("locked",)),
    Added((2, 74), "server-create", ("host", "hypervisor_hostname")),
    Changed((2, 75), "flavor", _empty_swap),
    Changed((2, 75), "server-updated", _minimal_update),
    Strict((2, 75), "servers?"),
    Strict((2, 75), "flavors?"),
    Strict((2, 75), "hypervisors?"),
    Strict((2, 75), "hypervisor?"),
    Changed((2, 75), "hypervisor", _no_empty_servers),
    Strict((2, 75), "os-services?"),
    Strict((2, 58), "instance-actions?"),
    Added((2, 84), "instance-action-event", ("details",)),
    Removed((2, 88), "hypervisor", ("cpu_info", "current_workload", "disk_available_least",
                                    "free_disk_gb", "free_ram_mb", "local_gb", "local_gb_used",
                                    "memory_mb", "memory_mb_used", "running_vms", "vcpus",
                                    "vcpus_used")),
    Added((2, 88), "hypervisor", ("uptime",)),
    Served("hypervisor-statistics", before=(2, 88)),
    Served("hypervisor-uptime", before=(2, 88)),
    Added((2, 90), "server-for-members", (f"{ATTR}:hostname",)),
    Added((2, 90), "server-create", ("hostname",)),
    Added((2, 90), "server-update", ("hostname",)),
    Added((2, 96), "server", ("pinned_availability_zone",)),
)  # fmt: skip


def build() -> Differences:
    """The table, ready to shape."""
    return Differences(ROWS)
