"""Pages: from a query to rows of the conductor, and the link to the next page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from api.call import Call, Document
from paddock.records import Listing

T = TypeVar("T")
PAGE = 500
CONTROLS = ("limit", "marker", "sort_key", "sort_dir")


def collect(
    fetch: Callable[[Listing], list[T]],
    asked: Listing,
    most: int,
    mark: str,
    keep: Callable[[T], bool] | None = None,
) -> list[T]:
    """At most ``most`` rows, asked for in pages that fit a message.

    :param fetch: asks the conductor for one page
    :param mark: the field of a row that is its marker
    :param keep: which rows count; None for all
    """
    rows: list[T] = []
    marker = asked.marker
    while len(rows) < most:
        size = PAGE if keep else min(PAGE, most - len(rows))
        page = fetch(Listing(filters=asked.filters, sort=asked.sort, marker=marker, limit=size))
        rows += filter(keep, page) if keep else page
        if len(page) < size:
            break
        marker = str(getattr(page[-1], mark))
    return rows[:most]


def page_size(query: Document, largest: int) -> int:
    """How many rows the query's ``limit`` allows."""
    return min(int(query.get("limit") or largest), largest)


def sorting(
    query: Document, names: dict[str, str], default: list[tuple[str, str]], way: str = "desc"
) -> Any:
    """Pairs of field and direction; a key without a direction takes the first one's.

    :param way: the direction when the query has none
    """
    keys = query.get("sort_key", [])
    directions = query.get("sort_dir", [])
    if not keys:
        first = directions[0] if directions else None
        return [(field, first or direction) for field, direction in default]
    fallback = directions[0] if directions else way
    directions = [*directions, *[fallback] * len(keys)]
    pairs = [(names.get(key, key), each) for key, each in zip(keys, directions, strict=False)]
    kept = dict(reversed(pairs))  # the first mention of a field counts
    return [(field, kept[field]) for field in dict(pairs)]


def next_link(call: Call, path: str, marker: str) -> list[Document]:
    """The link to the page after ``marker``."""
    pairs = [
        (name, item)
        for name, value in call.query.items()
        if name != "marker"
        for item in (value if isinstance(value, list) else [value])
    ]
    query = urlencode([*pairs, ("marker", marker)])
    return [{"rel": "next", "href": f"{call.base}{path}?{query}"}]


def links(call: Call, path: str) -> list[Document]:
    """The links of one thing: itself, and the same without the version."""
    return [{"rel": "self", "href": f"{call.base}{path}"}, bookmark(call, path)]


def bookmark(call: Call, path: str) -> Document:
    """The link of one thing without the version."""
    base = call.base.rpartition("/v2")[0] or call.root
    return {"rel": "bookmark", "href": f"{base}{path}"}
