"""Drains, as the API serves them."""

from __future__ import annotations

import uuid

from paddock.cli.cloud import Cloud, Document
from paddock.cli.failure import CommandFailed

ENDED = ("completed", "failed", "cancelled", "restored")


class Drains:
    """Asks a cloud about its drains."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, wanted: Document) -> Document:
        """A drain that has begun, or its plan for ``dry_run``."""
        return self._one(self._cloud.post("/drains", wanted, keyed=True))

    def list(self, **filters: str) -> list[Document]:
        """All drains, the newest first, without their machines."""
        found: list[Document] = []
        page: Document = {"drains_links": True}
        while page.get("drains_links"):
            after = {"marker": str(found[-1]["id"])} if found else {}
            page = self._cloud.get("/drains", **filters, **after)
            found += page["drains"]
        return found

    def find(self, key: str) -> str:
        """The id of a drain by what names it: its id, or its host, whose newest drain is meant.

        :raises CommandFailed: the host has no drain
        """
        if _is_id(key):
            return key
        newest = self._cloud.get("/drains", host=key, limit="1")["drains"]
        if not newest:
            raise CommandFailed(f"There is no drain of a host {key}.")
        return str(newest[0]["id"])

    def get(self, drain_id: str) -> Document:
        """A drain with its machines."""
        return self._one(self._cloud.get(f"/drains/{drain_id}"))

    def steer(self, drain_id: str, verb: str, params: Document | None) -> Document:
        """The drain once it was told to change its course."""
        return self._one(self._cloud.post(f"/drains/{drain_id}/action", {verb: params}))

    @staticmethod
    def _one(document: Document) -> Document:
        found: Document = document["drain"]
        return found


def _is_id(key: str) -> bool:
    try:
        uuid.UUID(key)
    except ValueError:
        return False
    return True


def is_well(drain: Document) -> bool:
    """Whether a drain that has ended did what it was for: no machine is where it should not be."""
    if drain["status"] == "cancelled":
        return not (drain["counts"].get("left") or drain["counts"].get("failed"))
    return bool(drain["status"] in ("completed", "restored"))
