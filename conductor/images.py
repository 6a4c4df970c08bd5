"""Images: their records. A replaced image is ``deleted``; instances made from it keep it."""

from __future__ import annotations

import sqlalchemy as sa

from conductor.db.models import Image
from conductor.moments import iso
from conductor.pages import page
from conductor.turn import Turn
from paddock.context import RequestContext
from paddock.errors import NotFound
from paddock.records import ImageRecord, Listing

FOR_ALL = ("public", "community")


def list_page(turn: Turn, asks: RequestContext, listing: Listing) -> list[ImageRecord]:
    """A page of those that the caller may use; newest first unless asked otherwise."""
    found = turn.all(sa.select(Image).where(_is_visible(asks)))
    return page(map(show, found), listing, default=("created_at", "desc"))


def get(turn: Turn, asks: RequestContext, key: str) -> ImageRecord:
    """One image that the caller may use."""
    image = turn.first(sa.select(Image).where(Image.id == key, _is_visible(asks)))
    if image is None:
        raise NotFound(f"Image {key} could not be found.")
    return show(image)


def _is_visible(asks: RequestContext) -> sa.ColumnElement[bool]:
    theirs = sa.or_(Image.visibility.in_(FOR_ALL), Image.owner == asks.project_id)
    there = Image.status != "deleted"
    return there if "admin" in asks.roles else sa.and_(there, theirs)


def show(image: Image) -> ImageRecord:
    """The image's record."""
    return ImageRecord(
        id=image.id,
        name=image.name,
        owner=image.owner,
        visibility=image.visibility,
        status=image.status,
        disk_format=image.disk_format,
        container_format=image.container_format,
        size=image.size,
        checksum=image.checksum,
        min_disk=image.min_disk,
        min_ram=image.min_ram,
        properties=image.properties,
        created_at=iso(image.created_at),
        updated_at=iso(image.updated_at),
    )
