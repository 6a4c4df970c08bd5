"""Images, as the image API's version 2 shows them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from api.call import Call, Document
from api.listing import collect, page_size, sorting
from api.operations import Frame, Resource, operation
from api.schemas.common import is_true
from api.schemas.images import LIST
from api.times import seconds
from paddock.clients import CatalogClient
from paddock.errors import BadRequest
from paddock.records import ImageRecord, Listing

PLAIN = ("name", "visibility", "status", "owner", "disk_format", "container_format")
HASH = "sha256"


class Images(Resource):
    """``/image/v2/images``.

    :param largest: rows of a page at most
    """

    def __init__(self, frame: Frame, catalog: CatalogClient, largest: int) -> None:
        super().__init__(frame)
        self._catalog = catalog
        self._largest = largest

    @operation("image-list", "List images", query=LIST)
    def on_get(self, call: Call) -> Document:
        """A page of images."""
        most = page_size(call.query, self._largest)
        listing = listing_of(call.query)
        records = [] if is_true(call.query.get("os_hidden")) else collect(
            lambda page: self._catalog.list(call.ctxt, "images", ImageRecord, page),
            listing,
            most,
            "id",
        )  # fmt: skip
        answer: Document = {
            "images": [view(record) for record in records],
            "first": "/v2/images",
            "schema": "/v2/schemas/images",
        }
        if records and len(records) == most:
            answer["next"] = _next(call, records[-1].id)
        return answer


class Image(Resource):
    """``/image/v2/images/{image_id}``."""

    def __init__(self, frame: Frame, catalog: CatalogClient) -> None:
        super().__init__(frame)
        self._catalog = catalog

    @operation("image-show", "Show an image")
    def on_get(self, call: Call, image_id: str) -> Document:
        """The image, flat."""
        return view(self._catalog.get(call.ctxt, "images", ImageRecord, image_id))


def listing_of(query: Document) -> Listing:
    """What the conductor is asked for."""
    filters: dict[str, Any] = {name: query[name] for name in PLAIN if query.get(name)}
    if "id" in query:
        filters["id"] = query["id"].removeprefix("in:").split(",")
    if "name" in filters and filters["name"].startswith("in:"):
        filters["name"] = filters["name"].removeprefix("in:").split(",")
    return Listing(filters=filters, sort=_sort(query), marker=query.get("marker"))


def _sort(query: Document) -> list[tuple[str, str]]:
    if "sort" in query:
        pairs = [part.partition(":") for part in query["sort"].split(",")]
        keys = [key for key, _, _ in pairs]
        ways = [way or "desc" for _, _, way in pairs]
        if not set(ways) <= {"asc", "desc"}:
            raise BadRequest("sort must be fields with asc or desc, as in name:asc,id:desc.")
        query = {"sort_key": keys, "sort_dir": ways}
    found: list[tuple[str, str]] = sorting(query, {}, [("created_at", "desc"), ("id", "desc")])
    return found


def _next(call: Call, marker: str) -> str:
    query = {name: value for name, value in call.query.items() if name != "marker"}
    return f"/v2/images?{urlencode({**query, 'marker': marker}, doseq=True)}"


def view(record: ImageRecord) -> Document:
    """An image's document; its properties stand beside its own fields."""
    return record.properties | {
        "id": record.id,
        "name": record.name,
        "owner": record.owner,
        "visibility": record.visibility,
        "status": record.status,
        "disk_format": record.disk_format,
        "container_format": record.container_format,
        "size": record.size,
        "virtual_size": None,
        "checksum": None,
        "os_hash_algo": HASH,
        "os_hash_value": record.checksum,
        "os_hidden": False,
        "protected": False,
        "min_disk": record.min_disk,
        "min_ram": record.min_ram,
        "tags": [],
        "created_at": seconds(record.created_at),
        "updated_at": seconds(record.updated_at),
        "self": f"/v2/images/{record.id}",
        "file": f"/v2/images/{record.id}/file",
        "schema": "/v2/schemas/image",
    }
