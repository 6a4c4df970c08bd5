"""What the ledger holds at one moment, read past the conductors."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]
TABLES = ("hosts", "instances", "actions", "steps", "claims", "ports", "leftovers", "drains",
          "drain_machines")  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    """Rows by table; instances, hosts, actions and drains by their key."""

    hosts: dict[str, Row]
    instances: dict[str, Row]
    actions: dict[str, Row]
    steps: list[Row]
    claims: list[Row]
    ports: list[Row]
    leftovers: list[Row]
    drains: dict[str, Row]
    drain_machines: list[Row]

    @property
    def living(self) -> dict[str, Row]:
        """Instances that are no tombstones."""
        return {key: row for key, row in self.instances.items() if not row["deleted"]}

    def left_on(self, host: str) -> dict[str, list[Row]]:
        """Leftovers on a host, by instance."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.leftovers:
            if row["host"] == host:
                found[row["instance_id"]].append(row)
        return found

    def live_steps(self) -> list[Row]:
        """Steps that have not ended."""
        return [row for row in self.steps if row["status"] in ("waiting", "accepted", "running")]


def read_ledger(connection: psycopg.Connection[Any]) -> Ledger:
    """Read all of it, as of one moment."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        rows = {name: cursor.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
    return Ledger(
        hosts={row["name"]: row for row in rows["hosts"]},
        instances={row["id"]: row for row in rows["instances"]},
        actions={row["id"]: row for row in rows["actions"]},
        steps=rows["steps"],
        claims=rows["claims"],
        ports=rows["ports"],
        leftovers=rows["leftovers"],
        drains={row["id"]: row for row in rows["drains"]},
        drain_machines=rows["drain_machines"],
    )
