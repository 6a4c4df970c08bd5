"""What documents in the API's calls may hold where they are parts of a record, or none.

``paddock.clients.read`` checks the types of what is there; names beside these are each function's
to refuse.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class FlavorFilters(TypedDict, total=False):
    """Filters of flavors that compare."""

    min_memory_mb: int
    min_disk_gb: int
    is_public: bool | None


class FlavorChanges(TypedDict, total=False):
    """Changes of a flavor; None removes an extra spec."""

    description: str | None
    extra_specs: dict[str, str | None]


class NewAggregate(TypedDict):
    """What an aggregate is made from."""

    name: str
    zone: NotRequired[str | None]


class AggregateChanges(TypedDict, total=False):
    """Changes of an aggregate; None removes an entry of the metadata."""

    name: str
    zone: str | None
    metadata: dict[str, str | None]
    add_host: str
    remove_host: str


class HostChanges(TypedDict, total=False):
    """Changes of a host."""

    disabled: bool
    disabled_reason: str | None
    forced_down: bool


class NewDrain(TypedDict):
    """What a drain is made from; its id is the API's, which repeats a request under it."""

    host: str
    id: NotRequired[str]
    reason: NotRequired[str | None]
    dry_run: NotRequired[bool]
    strategy: NotRequired[str]
    max_parallel: NotRequired[int]
    target_zone: NotRequired[str | None]
    exclude: NotRequired[list[str]]
    deadline: NotRequired[str | None]


class InstanceChanges(TypedDict, total=False):
    """Changes of an instance."""

    name: str
    description: str | None
    metadata: dict[str, str]
    set_metadata: dict[str, str]
    unset_metadata: str
