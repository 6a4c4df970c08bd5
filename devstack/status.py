"""What `stack.sh status` shows: processes from the registry, hosts from the API.

Where nothing was ever started it says so with the standard library alone.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devstack.processes import Registry
from devstack.say import say


def collect(directory: Path) -> dict[str, Any]:
    """Processes, hosts and what the API said, as JSON values.

    :param directory: the checkout's `.paddock`.
    """
    registry = Registry(directory)
    processes = [
        {
            "role": record.role,
            "host": record.host,
            "pid": record.pid,
            "namespace": record.namespace,
            "alive": registry.alive(record),
            "log": record.log,
        }
        for record in registry.records()
    ]
    hosts, api = _ask_hosts(directory / "clouds.yaml")
    return {"processes": processes, "hosts": hosts, "api": api}


def show(directory: Path, *, as_json: bool) -> int:
    """Print the status; 0 when everything that was started is alive and the API answers."""
    found = collect(directory)
    if as_json:
        say(json.dumps(found, indent=2))
    else:
        _print(found)
    running = found["processes"] and all(process["alive"] for process in found["processes"])
    return 0 if running and found["api"] == "answers" else 1


def age_seconds(moment: str | None, now: datetime) -> float | None:
    """How long ago an ISO 8601 moment was; without a zone it is UTC."""
    if not moment:
        return None
    when = datetime.fromisoformat(moment)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return round((now - when).total_seconds(), 1)


def _ask_hosts(clouds: Path) -> tuple[list[dict[str, Any]], str]:
    if not clouds.exists():
        return [], "there is no stack here yet"
    from devstack.api import Api, ApiFailed

    try:
        api = Api(clouds, "paddock-admin")
        api.sign_in()
        services = api.get("/compute/v2.1/services")["services"]
    except ApiFailed as failure:
        return [], str(failure)
    now = datetime.now(UTC)
    return [_host(service, now) for service in services], "answers"


def _host(service: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "host": service["host"],
        "binary": service.get("binary"),
        "zone": service.get("zone"),
        "state": service.get("state"),
        "paused": service.get("paused"),
        "heartbeat_age": age_seconds(service.get("last_heartbeat"), now),
    }


def _print(found: dict[str, Any]) -> None:
    if found["processes"]:
        columns = ("role", "host", "pid", "namespace", "alive")
        rows = [[process[column] for column in columns] for process in found["processes"]]
        say(_table(rows, columns))
    else:
        say("No process of this stack was started.")
    say("")
    if found["hosts"]:
        titles = ("host", "binary", "zone", "state", "paused", "heartbeat's age")
        say(_table([list(host.values()) for host in found["hosts"]], titles))
    if found["api"] != "answers":
        say(f"API: {found['api']}")


def _table(rows: list[list[Any]], titles: Sequence[str]) -> str:
    from tabulate import tabulate

    return str(tabulate([[_shown(value) for value in row] for row in rows], headers=titles))


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value} s" if isinstance(value, float) else value
