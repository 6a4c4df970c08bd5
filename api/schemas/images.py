"""Images: what a list may be asked for."""

from __future__ import annotations

from api.schemas.common import END, FLAG, LIMIT, MARKER, UUID, WORD, Query, one_of, record, text

_IDS = {
    "type": "string",
    "maxLength": 65536,
    "pattern": rf"^(in:)?{UUID}(,{UUID})*{END}|^in:{END}|^[^,]{{1,255}}{END}",
    "description": "an image's id, or in: and a list of ids",
}
LIST = Query(
    "images?",
    record(
        {
            "id": _IDS,
            "name": text(4096),
            "limit": LIMIT,
            "marker": MARKER,
            "visibility": WORD,
            "status": WORD,
            "owner": WORD,
            "os_hidden": FLAG,
            "disk_format": WORD,
            "container_format": WORD,
            "member_status": WORD,
            "protected": FLAG,
            "size_min": LIMIT,
            "size_max": LIMIT,
            "tag": {"type": "array", "items": WORD, "description": "a string"},
            "sort": WORD,
            "sort_key": {
                "type": "array",
                "items": one_of("name", "status", "created_at", "updated_at", "id", "size",
                                "disk_format", "container_format"),
                "description": "names of fields",
            },
            "sort_dir": {
                "type": "array",
                "items": one_of("asc", "desc"),
                "description": "asc or desc",
            },
        },
        additionalProperties=WORD,
    ),
)  # fmt: skip
