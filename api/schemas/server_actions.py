"""The verbs of ``POST /servers/{id}/action`` and what each may hold."""

from __future__ import annotations

from dataclasses import dataclass

from api.schemas.common import (
    END,
    HOST,
    JSON,
    NOTHING,
    REASON,
    XML,
    ZONE,
    Body,
    Schema,
    nullable,
    one_of,
    record,
)

MOST_LINES = 100_000
_ZONE_CHOICE = record(
    {"availability_zone": nullable(ZONE)}, type=["object", "null"],
    description="null or an object with availability_zone",
)  # fmt: skip

CONSOLE = record({"output": {"type": "string"}}, ("output",),
                 description="the console's text, for os-getConsoleOutput")  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """One verb of the body.

    :ivar name: in the body
    :ivar schema: of its value
    :ivar ledger: the action in the ledger; None for what only reads
    """

    name: str
    schema: Schema
    ledger: str | None

    @property
    def body(self) -> Body:
        """The whole body with this verb."""
        return Body(f"server-{self.name}", self.name, self.schema, media=(JSON, XML))


def _plain(*names: str) -> list[Verb]:
    return [Verb(name, NOTHING, name) for name in names]


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in [
        *_plain("vm-poweroff", "os-stop", "os-start", "pause", "unpause", "suspend", "resume"),
        *_plain("unlock", "forceDelete"),
        Verb("vm-poweron", _ZONE_CHOICE, "vm-poweron"),
        Verb("migrate", record({"host": nullable(HOST), "availability_zone": nullable(ZONE)},
                               type=["object", "null"], description="null or an object with host "
                               "or availability_zone"), "migrate"),
        Verb("os-migrateLive", record(
            {
                "host": nullable(HOST),
                "block_migration": {
                    "type": ["boolean", "string"], "pattern": rf"^auto{END}",
                    "description": "auto, true or false",
                },
                "disk_over_commit": {"type": "boolean", "description": "true or false"},
                "force": {"type": "boolean", "description": "true or false"},
            },
            ("host", "block_migration"),
        ), "os-migrateLive"),
        Verb("reboot", record({"type": one_of("SOFT", "HARD", "soft", "hard")},
                              ("type",)), "reboot"),
        Verb("lock", record({"locked_reason": nullable(REASON)}, type=["object", "null"],
                            description="null or an object with locked_reason"), "lock"),
        Verb("os-resetState", record({"state": one_of("active", "error")}, ("state",)),
             "os-resetState"),
        Verb("os-getConsoleOutput", record({"length": {
            "type": ["integer", "string", "null"],
            "minimum": -1,
            "maximum": MOST_LINES,
            "pattern": rf"^(-1|[0-9]{{1,5}}|100000){END}",
            "description": f"a number of lines from -1 (all) to {MOST_LINES}, or null",
        }}), None),
    ]
}  # fmt: skip
