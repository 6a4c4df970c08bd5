"""Servers: create, update, list."""

from __future__ import annotations

from api.schemas.common import (
    DESCRIPTION,
    END,
    FLAG,
    HOST,
    LIMIT,
    MARKER,
    NAME,
    TIME,
    UUID,
    WORD,
    ZONE,
    Body,
    Query,
    Schema,
    integer,
    named_map,
    nullable,
    one_of,
    record,
    text,
)
from api.server_fields import FILTERS, FLAGS, SORT_KEYS, TIMES

MOST_AT_ONCE = 100
MOST_NETWORKS = 16


def _absent(what: str, empty: Schema | None = None) -> Schema:
    """A field of the compute API that this cloud has no means for: left out, or empty."""
    return (empty or {"const": None}) | {"description": f"left out: this cloud has no {what}"}


def _reference(what: str) -> Schema:
    """An id, or a link that ends with it."""
    return {
        "type": ["string", "integer"],
        "minLength": 1,
        "maxLength": 1024,
        "minimum": 0,
        "maximum": 2**31 - 1,
        "pattern": rf"^[^\x00-\x1f\x7f]+{END}",
        "description": f"{what}'s id",
    }


_NETWORK = record(
    {
        "uuid": text(64, 1) | {"pattern": rf"^{UUID}{END}", "description": "a network's UUID"},
        "fixed_ip": {
            "type": "string",
            "pattern": rf"^[0-9]{{1,3}}(\.[0-9]{{1,3}}){{3}}{END}",
            "description": "an IPv4 address",
        },
    },
    ("uuid",),
)
_NETWORKS: Schema = {
    "if": {"type": "string"},
    "then": one_of("auto", "none"),
    "else": {
        "type": "array",
        "items": _NETWORK,
        "maxItems": MOST_NETWORKS,
        "description": f"auto, none or a list of at most {MOST_NETWORKS} networks",
    },
    "description": "auto, none or a list of networks",
}
_IMAGE_DISK = record(
    {
        "boot_index": one_of(0, "0"),
        "uuid": {"type": "string", "pattern": rf"^{UUID}{END}", "description": "an image's UUID"},
        "source_type": one_of("image"),
        "destination_type": one_of("local"),
        "delete_on_termination": one_of(True),
    },
    ("boot_index", "uuid", "source_type"),
)
_GROUP = record({"name": one_of("default")}, ("name",))

_CREATE = record(
    {
        "name": NAME,
        "imageRef": _reference("an image") | {"type": "string", "minLength": 0, "pattern": ""},
        "flavorRef": _reference("a flavor"),
        "availability_zone": nullable(ZONE),
        "networks": _NETWORKS,
        "metadata": named_map(),
        "min_count": integer(1, MOST_AT_ONCE),
        "max_count": integer(1, MOST_AT_ONCE),
        "return_reservation_id": {
            "enum": [True, False, "True", "False", "true", "false"],
            "description": "true or false",
        },
        "description": DESCRIPTION,
        "host": HOST,
        "hypervisor_hostname": HOST,
        "adminPass": text(255) | {"writeOnly": True},
        "OS-DCF:diskConfig": one_of("AUTO", "MANUAL"),
        "security_groups": {
            "type": "array",
            "items": _GROUP,
            "description": "a list that holds at most the group default",
        },
        "block_device_mapping_v2": {
            "type": "array",
            "items": _IMAGE_DISK,
            "maxItems": 1,
            "description": "left out, or one local disk made from the image",
        },
        "config_drive": _absent("configuration drives", {"enum": [None, False, "", "False"]}),
        "key_name": _absent("key pairs"),
        "user_data": _absent("user data"),
        "personality": _absent("injected files", {"enum": [None, []]}),
        "tags": _absent("tags", {"enum": [None, []]}),
        "trusted_image_certificates": _absent("image certificates", {"enum": [None, []]}),
        "hostname": _absent("host names beside names"),
        "accessIPv4": _absent("access addresses", {"enum": [None, ""]}),
        "accessIPv6": _absent("access addresses", {"enum": [None, ""]}),
    },
    ("name", "flavorRef"),
)
_HINTS: Schema = {
    "type": "object",
    "maxProperties": 0,
    "description": "empty: this cloud has no scheduler hints",
}
CREATE = Body(
    "server-create",
    "server",
    _CREATE,
    beside={"os:scheduler_hints": _HINTS, "OS-SCH-HNT:scheduler_hints": _HINTS},
)
UPDATE = Body(
    "server-update",
    "server",
    record(
        {
            "name": NAME,
            "description": DESCRIPTION,
            "OS-DCF:diskConfig": one_of("AUTO", "MANUAL"),
            "hostname": _absent("host names beside names"),
            "accessIPv4": _absent("access addresses", {"enum": [None, ""]}),
            "accessIPv6": _absent("access addresses", {"enum": [None, ""]}),
        },
        minProperties=1,
        description="an object with at least one field to change",
    ),
)
METADATA = Body("server-metadata", "metadata", named_map())
METADATA_ITEM = Body(
    "server-metadata-item",
    "meta",
    named_map() | {"minProperties": 1, "maxProperties": 1, "description": "one name with a value"},
)

_REPEATED: Schema = {"type": "array", "items": WORD, "description": "a string"}
LIST = Query(
    "servers?",
    record(
        dict.fromkeys(FILTERS, WORD)
        | dict.fromkeys(TIMES, TIME)
        | dict.fromkeys(FLAGS, FLAG)
        | {
            "status": _REPEATED,
            "all_tenants": FLAG,
            "deleted": FLAG,
            "soft_deleted": FLAG,
            "locked": FLAG,
            "limit": LIMIT,
            "marker": MARKER,
            "changes-since": TIME,
            "changes-before": TIME,
            "sort_key": {
                "type": "array",
                "items": {"enum": list(SORT_KEYS), "description": f"one of {', '.join(SORT_KEYS)}"},
                "description": "names of fields",
            },
            "sort_dir": {
                "type": "array",
                "items": one_of("asc", "desc"),
                "description": "asc or desc",
            },
        }
    ),
)
