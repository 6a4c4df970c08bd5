"""Flavors and their extra specs."""

from __future__ import annotations

import uuid
from typing import Any

from api.call import Call, Document
from api.listing import collect, links, next_link, page_size, sorting
from api.operations import Frame, Resource, operation
from api.schemas import flavors as schemas
from api.schemas.common import LARGEST, is_true
from paddock.clients import CatalogClient
from paddock.errors import BadRequest, NotFound
from paddock.records import FlavorRecord, Listing

NAMES = {"flavorid": "id", "root_gb": "disk_gb", "swap": "swap_mb"}
FIGURES = {
    "vcpus": "vcpus",
    "ram": "memory_mb",
    "disk": "disk_gb",
    "OS-FLV-EXT-DATA:ephemeral": "ephemeral_gb",
    "swap": "swap_mb",
}


class FlavorBase(Resource):
    """What the resources of flavors share.

    :param largest: rows of a page at most
    """

    def __init__(self, frame: Frame, catalog: CatalogClient, largest: int) -> None:
        super().__init__(frame)
        self._catalog = catalog
        self._largest = largest

    def _get(self, call: Call, flavor_id: str) -> FlavorRecord:
        return self._catalog.get(call.ctxt, "flavors", FlavorRecord, flavor_id)

    def _list(self, call: Call, path: str, view: Any) -> Document:
        most = page_size(call.query, self._largest)
        records = collect(
            lambda listing: self._catalog.list(call.ctxt, "flavors", FlavorRecord, listing),
            listing_of(call.query),
            most,
            "id",
        )
        answer: Document = {"flavors": [view(record) for record in records]}
        if records and len(records) == most:
            answer["flavors_links"] = next_link(call, path, records[-1].id)
        return answer

    def _full(self, call: Call, record: FlavorRecord) -> Document:
        return self.shape(call, "flavor", full(call, record))


class Flavors(FlavorBase):
    """``/flavors``."""

    @operation("flavor-list", "List flavors", query=schemas.LIST)
    def on_get(self, call: Call) -> Document:
        """Ids, names and links."""
        return self._list(
            call, "/flavors", lambda record: self.shape(call, "flavor", brief(call, record))
        )

    @operation("flavor-create", "Make a flavor", body=schemas.CREATE)
    def on_post(self, call: Call) -> Document:
        """The flavor."""
        fields = fields_of(call.body["flavor"])
        record = self._catalog.create(call.ctxt, "flavors", FlavorRecord, fields)
        return {"flavor": self._full(call, record)}


class FlavorsDetail(FlavorBase):
    """``/flavors/detail``."""

    @operation("flavor-list-detail", "List flavors with their figures", query=schemas.LIST)
    def on_get(self, call: Call) -> Document:
        """Whole documents."""
        return self._list(call, "/flavors/detail", lambda record: self._full(call, record))


class Flavor(FlavorBase):
    """``/flavors/{flavor_id}``."""

    @operation("flavor-show", "Show a flavor")
    def on_get(self, call: Call, flavor_id: str) -> Document:
        """The flavor."""
        return {"flavor": self._full(call, self._get(call, flavor_id))}

    @operation("flavor-update", "Describe a flavor", body=schemas.UPDATE)
    def on_put(self, call: Call, flavor_id: str) -> Document:
        """The flavor after the change."""
        record = self._catalog.update(
            call.ctxt, "flavors", FlavorRecord, flavor_id, call.body["flavor"]
        )
        return {"flavor": self._full(call, record)}

    @operation("flavor-delete", "Remove a flavor", status=202)
    def on_delete(self, call: Call, flavor_id: str) -> None:
        """Servers made from it keep their figures."""
        self._catalog.delete(call.ctxt, "flavors", flavor_id)


class ExtraSpecs(FlavorBase):
    """``/flavors/{flavor_id}/os-extra_specs``."""

    @operation("flavor-extra-specs-list", "List a flavor's extra specs")
    def on_get(self, call: Call, flavor_id: str) -> Document:
        """Names and values."""
        return {"extra_specs": self._get(call, flavor_id).extra_specs}

    @operation("flavor-extra-specs", "Add extra specs to a flavor", body=schemas.EXTRA_SPECS)
    def on_post(self, call: Call, flavor_id: str) -> Document:
        """What was added."""
        added = {name: str(value) for name, value in call.body["extra_specs"].items()}
        change = {"extra_specs": added}
        self._catalog.update(call.ctxt, "flavors", FlavorRecord, flavor_id, change)
        return {"extra_specs": added}


class ExtraSpec(FlavorBase):
    """``/flavors/{flavor_id}/os-extra_specs/{key}``."""

    @operation("flavor-extra-spec-show", "Show one extra spec of a flavor")
    def on_get(self, call: Call, flavor_id: str, key: str) -> Document:
        """Its name and value."""
        return {key: self._specs(call, flavor_id, key)[key]}

    @operation("flavor-extra-spec-delete", "Remove an extra spec of a flavor")
    def on_delete(self, call: Call, flavor_id: str, key: str) -> None:
        """It is gone."""
        self._specs(call, flavor_id, key)
        change = {"extra_specs": {key: None}}
        self._catalog.update(call.ctxt, "flavors", FlavorRecord, flavor_id, change)

    def _specs(self, call: Call, flavor_id: str, key: str) -> dict[str, str]:
        specs = self._get(call, flavor_id).extra_specs
        if key not in specs:
            raise NotFound(f"Flavor {flavor_id} has no extra spec {key[:60]!a}.")
        return specs


def listing_of(query: Document) -> Listing:
    """What the conductor is asked for; ``is_public=None`` is every flavor."""
    filters: dict[str, Any] = {}
    public = query.get("is_public", "")
    if public:
        filters["is_public"] = None if public.lower() == "none" else is_true(public)
    for name, field in (("minRam", "min_memory_mb"), ("minDisk", "min_disk_gb")):
        if query.get(name):
            filters[field] = int(query[name])
    sort = sorting(query, NAMES, [("id", "asc")], "asc")
    return Listing(filters=filters, sort=sort, marker=query.get("marker"))


def fields_of(wanted: Document) -> dict[str, Any]:
    """The record's fields that a valid body describes."""
    identifier = wanted.get("id")
    fields: dict[str, Any] = {
        "id": str(uuid.uuid4()) if identifier in (None, "auto") else str(identifier),
        "name": wanted["name"],
        "rxtx_factor": float(wanted.get("rxtx_factor", 1.0)),
        "is_public": is_true(wanted.get("os-flavor-access:is_public", True)),
        "description": wanted.get("description"),
    }
    for name, field in FIGURES.items():
        fields[field] = int(wanted.get(name, 0))
    _check_figures(fields)
    return fields


def _check_figures(fields: dict[str, Any]) -> None:
    """The schema's bounds are for numbers only; digits in strings are held to them here.

    :raises BadRequest: a figure is too small or too large
    """
    for name, field in FIGURES.items():
        least = 1 if name in ("vcpus", "ram") else 0
        if not least <= fields[field] <= LARGEST:
            raise BadRequest(f"flavor.{name} must be a whole number from {least} to {LARGEST}.")


def brief(call: Call, record: FlavorRecord) -> Document:
    """A flavor in a short list."""
    return {
        "id": record.id,
        "name": record.name,
        "description": record.description,
        "links": links(call, f"/flavors/{record.id}"),
    }


def full(call: Call, record: FlavorRecord) -> Document:
    """A flavor in its newest shape."""
    return brief(call, record) | {
        "vcpus": record.vcpus,
        "ram": record.memory_mb,
        "disk": record.disk_gb,
        "swap": record.swap_mb,
        "OS-FLV-EXT-DATA:ephemeral": record.ephemeral_gb,
        "OS-FLV-DISABLED:disabled": record.disabled,
        "os-flavor-access:is_public": record.is_public,
        "rxtx_factor": record.rxtx_factor,
        "extra_specs": record.extra_specs,
    }
