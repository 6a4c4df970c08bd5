"""Hypervisors: the hosts' resources, addresses and uptimes."""

from __future__ import annotations

import datetime
import sys
from typing import Any

from api.call import Call, Document
from api.differences import number_of
from api.listing import collect, next_link, page_size
from api.operations import Frame, Resource, operation
from api.schemas.aggregates import HYPERVISOR, HYPERVISORS
from api.schemas.common import is_set
from api.services import is_up, list_hosts
from paddock.clients import CatalogClient, LedgerClient
from paddock.errors import BadRequest, NotFound
from paddock.records import HostRecord, Listing

DAY = 86400
SUMMED = ("current_workload", "disk_available_least", "free_disk_gb", "free_ram_mb", "local_gb",
          "local_gb_used", "memory_mb", "memory_mb_used", "running_vms", "vcpus",
          "vcpus_used")  # fmt: skip
CONDUCTOR = "conductor"


class HypervisorBase(Resource):
    """What the resources of hypervisors share.

    :param largest: rows of a page at most
    """

    def __init__(
        self, frame: Frame, catalog: CatalogClient, ledger: LedgerClient, largest: int
    ) -> None:
        super().__init__(frame)
        self._catalog = catalog
        self._ledger = ledger
        self._largest = largest

    def _all(self, call: Call) -> list[HostRecord]:
        found = [host for host in list_hosts(call, self._catalog) if CONDUCTOR not in host.binary]
        return sorted(found, key=lambda record: record.id)

    def _list(self, call: Call, path: str, view: Any) -> Document:
        records = self._page(call)
        most = page_size(call.query, self._largest)
        answer: Document = {"hypervisors": self._shown(call, records[:most], view)}
        if 0 < most < len(records):
            answer["hypervisors_links"] = next_link(call, path, records[most - 1].id)
        return answer

    def _shown(self, call: Call, records: list[HostRecord], view: Any) -> list[Document]:
        servers = self._servers(call, [record.host for record in records])
        return [
            self.shape(call, "hypervisor", view(record) | servers.get(record.host, {}))
            for record in records
        ]

    def _servers(self, call: Call, hosts: list[str]) -> dict[str, Document]:
        """For each host the field of its servers, when the query asks for it."""
        if not hosts or not is_set(call.query, "with_servers"):
            return {}
        records = collect(
            lambda listing: self._ledger.list_instances(call.ctxt, listing),
            Listing(filters={"all_tenants": True, "host": hosts}),
            sys.maxsize,
            "id",
        )
        found: dict[str, list[Document]] = {host: [] for host in hosts}
        for record in records:
            if record.host in found:
                found[record.host].append({"uuid": record.id, "name": record.name})
        return {host: {"servers": servers} for host, servers in found.items()}

    def _page(self, call: Call) -> list[HostRecord]:
        records = self._all(call)
        if pattern := call.query.get("hypervisor_hostname_pattern"):
            records = [record for record in records if pattern in record.host]
            if not records:
                raise NotFound(f"No hypervisor matches {pattern[:60]!a}.")
        if marker := call.query.get("marker"):
            places = [place for place, record in enumerate(records) if record.id == marker]
            if not places:
                raise BadRequest(f"marker: [{marker[:60]!a}] could not be found.")
            records = records[places[0] + 1 :]
        return records

    def _find(self, call: Call, key: str) -> HostRecord:
        for record in self._all(call):
            if key in (record.id, record.host, str(number_of(record.id))):
                return record
        raise NotFound(f"Hypervisor {key[:60]!a} could not be found.")


class Hypervisors(HypervisorBase):
    """``/os-hypervisors``."""

    @operation("hypervisor-list", "List hypervisors", query=HYPERVISORS)
    def on_get(self, call: Call) -> Document:
        """Names and states."""
        return self._list(call, "/os-hypervisors", brief)


class HypervisorsDetail(HypervisorBase):
    """``/os-hypervisors/detail``."""

    @operation("hypervisor-list-detail", "List hypervisors with their resources",
               query=HYPERVISORS)  # fmt: skip
    def on_get(self, call: Call) -> Document:
        """Whole documents."""
        return self._list(call, "/os-hypervisors/detail", full)


class Hypervisor(HypervisorBase):
    """``/os-hypervisors/{hypervisor_id}``: by its id or its host's name."""

    @operation("hypervisor-show", "Show a hypervisor", query=HYPERVISOR)
    def on_get(self, call: Call, hypervisor_id: str) -> Document:
        """The whole document."""
        (document,) = self._shown(call, [self._find(call, hypervisor_id)], full)
        return {"hypervisor": document}


class HypervisorUptime(HypervisorBase):
    """``/os-hypervisors/{hypervisor_id}/uptime``."""

    @operation("hypervisor-uptime", "Show how long a hypervisor's host is up")
    def on_get(self, call: Call, hypervisor_id: str) -> Document:
        """In words."""
        record = self._find(call, hypervisor_id)
        document = self.shape(call, "hypervisor", brief(record))
        return {"hypervisor": document | {"uptime": uptime(record)}}


class HypervisorStatistics(HypervisorBase):
    """``/os-hypervisors/statistics``."""

    @operation("hypervisor-statistics", "Sum up the hypervisors' resources")
    def on_get(self, call: Call) -> Document:
        """Sums over the hosts that are not disabled."""
        enabled = [record for record in self._all(call) if not record.disabled]
        rows = [resources(record) for record in enabled]
        sums = {name: sum(row[name] for row in rows) for name in SUMMED}
        return {"hypervisor_statistics": {"count": len(rows)} | sums}


def brief(record: HostRecord) -> Document:
    """A hypervisor in a short list."""
    return {
        "id": record.id,
        "hypervisor_hostname": record.host,
        "state": "up" if is_up(record) else "down",
        "status": "disabled" if record.disabled else "enabled",
    }


def full(record: HostRecord) -> Document:
    """A hypervisor with everything that any version shows."""
    service = {
        "id": record.id,
        "host": record.host,
        "disabled_reason": record.disabled_reason,
    }
    return (
        brief(record)
        | resources(record)
        | {
            "hypervisor_type": record.hypervisor_type,
            "hypervisor_version": record.hypervisor_version,
            "host_ip": record.address,
            "service": service,
            "cpu_info": {},
            "uptime": uptime(record),
        }
    )


def resources(record: HostRecord) -> dict[str, int]:
    """What the host has, and what its instances hold of it; sizes in MiB and GiB."""
    total, claimed = record.total, record.claimed
    return {
        "vcpus": total.vcpus,
        "vcpus_used": claimed.vcpus,
        "memory_mb": total.memory_mb,
        "memory_mb_used": claimed.memory_mb,
        "free_ram_mb": total.memory_mb - claimed.memory_mb,
        "local_gb": total.disk_gb,
        "local_gb_used": claimed.disk_gb,
        "free_disk_gb": total.disk_gb - claimed.disk_gb,
        "disk_available_least": total.disk_gb - claimed.disk_gb,
        "running_vms": record.running,
        "current_workload": 0,
    }


def uptime(record: HostRecord) -> str:
    """As ``uptime(1)`` writes it."""
    now = datetime.datetime.now(datetime.UTC).strftime("%H:%M:%S")
    days, rest = divmod(record.uptime, DAY)
    return f" {now} up {days} days, {rest // 3600:2d}:{rest % 3600 // 60:02d}"
