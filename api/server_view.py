"""A server's document, in its newest shape."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from api.call import Call, Document
from api.listing import bookmark, links
from api.microversions import Differences
from api.server_fields import ROOT_DEVICE, hostname_of
from api.times import micros, seconds
from paddock.actions import status_of
from paddock.records import InstanceRecord

WITH_PROGRESS = ("ACTIVE", "BUILD", "DELETED")
WITH_FAULT = ("ERROR", "DELETED")


def brief(call: Call, record: InstanceRecord) -> Document:
    """A server in a short list."""
    return {"id": record.id, "name": record.name, "links": links(call, f"/servers/{record.id}")}


def full(call: Call, record: InstanceRecord, differences: Differences) -> Document:
    """A server as ``call``'s version and roles see it."""
    status = status_of(record.vm_state, record.task_state)
    document = brief(call, record)
    document |= _common(call, record, status)
    document["flavor"] = differences.shape("server-flavor", _flavor(call, record), call.version)
    document |= _extensions(record)
    if status in WITH_PROGRESS:
        document["progress"] = record.progress
    if status in WITH_FAULT and record.fault:
        document["fault"] = _fault(call, record)
    hostname = {"OS-EXT-SRV-ATTR:hostname": hostname_of(record.name)}
    if call.is_admin:
        document |= hostname
        document |= _for_admins(record)
    else:
        document |= differences.shape("server-for-members", hostname, call.version)
    return differences.shape("server", document, call.version)


@functools.lru_cache(maxsize=1024)
def host_id(project_id: str, host: str | None) -> str:
    """What tells a project's hosts apart without naming them."""
    return hashlib.sha224(f"{project_id}{host}".encode()).hexdigest() if host else ""


def _common(call: Call, record: InstanceRecord, status: str) -> Document:
    image = f"/images/{record.image_id}"
    return {
        "status": status,
        "tenant_id": record.project_id,
        "user_id": record.user_id,
        "metadata": record.metadata,
        "hostId": host_id(record.project_id, record.host),
        "image": {"id": record.image_id, "links": [bookmark(call, image)]}
        if record.image_id
        else "",
        "created": seconds(record.created_at),
        "updated": seconds(record.updated_at or record.created_at),
        "addresses": addresses(record),
        "accessIPv4": "",
        "accessIPv6": "",
        "description": record.description,
        "locked": record.locked,
        "locked_reason": record.locked_reason,
        "tags": [],
        "trusted_image_certificates": None,
        "pinned_availability_zone": record.wanted_zone,
    }


def _extensions(record: InstanceRecord) -> Document:
    return {
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": record.zone or "",
        "OS-EXT-STS:task_state": record.task_state,
        "OS-EXT-STS:vm_state": record.vm_state,
        "OS-EXT-STS:power_state": record.power_state,
        "OS-SRV-USG:launched_at": micros(record.launched_at),
        "OS-SRV-USG:terminated_at": micros(record.terminated_at),
        "os-extended-volumes:volumes_attached": [],
        "config_drive": "",
        "key_name": None,
        "security_groups": [{"name": "default"}],
    }


def _for_admins(record: InstanceRecord) -> Document:
    prefix = "OS-EXT-SRV-ATTR:"
    return {
        f"{prefix}host": record.host,
        f"{prefix}hypervisor_hostname": record.hypervisor_hostname,
        f"{prefix}instance_name": f"paddock-{record.id}",
        f"{prefix}reservation_id": record.reservation_id,
        f"{prefix}launch_index": record.launch_index,
        f"{prefix}kernel_id": "",
        f"{prefix}ramdisk_id": "",
        f"{prefix}root_device_name": ROOT_DEVICE,
        f"{prefix}user_data": None,
        "host_status": record.host_status,
    }


def addresses(record: InstanceRecord) -> Document:
    """Addresses by network."""
    found: dict[str, list[Document]] = {}
    for port in record.ports:
        address = {
            "addr": port.address,
            "version": 6 if ":" in port.address else 4,
            "OS-EXT-IPS:type": "fixed",
            "OS-EXT-IPS-MAC:mac_addr": port.mac,
        }
        found.setdefault(port.network_name, []).append(address)
    return found


def _flavor(call: Call, record: InstanceRecord) -> Document:
    flavor: dict[str, Any] = record.flavor
    identifier = str(flavor.get("id", ""))
    return {
        "id": identifier,
        "links": [bookmark(call, f"/flavors/{identifier}")],
        "original_name": flavor.get("name", ""),
        "vcpus": flavor.get("vcpus", 0),
        "ram": flavor.get("memory_mb", 0),
        "disk": flavor.get("disk_gb", 0),
        "ephemeral": flavor.get("ephemeral_gb", 0),
        "swap": flavor.get("swap_mb", 0),
        "extra_specs": flavor.get("extra_specs", {}),
    }


def _fault(call: Call, record: InstanceRecord) -> Document:
    fault = record.fault or {}
    document: Document = {
        "code": fault.get("code", 500),
        "message": fault.get("message", ""),
        "created": seconds(fault.get("created")) or seconds(record.updated_at),
    }
    return document | (
        {"details": fault["details"]} if call.is_admin and "details" in fault else {}
    )
