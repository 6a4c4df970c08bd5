"""The broker's own command, ``rabbitmqctl``: users are given to it and taken from it."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any

from conductor.broker_users import User, agent_rights, describe
from paddock.errors import ServiceUnavailable

SECONDS = 30.0
ADVICE = "set [conductor] broker_control, or see to it where the broker runs"


class BrokerControl:
    """Runs the command that controls the broker. Passwords go to it as hashes, on standard input.

    :param command: program and first arguments, such as ``rabbitmqctl --quiet``
    :param vhost: the virtual host of the cloud
    """

    def __init__(self, command: str, vhost: str) -> None:
        self._command = shlex.split(command)
        self._vhost = vhost

    def has(self, name: str) -> bool:
        """Whether the broker has a user of that name."""
        return any(one.get("user") == name for one in self._list("list_users"))

    def is_agents(self, host: str) -> bool:
        """Whether the user of that name, which is there, may do just what that host's agent may."""
        rights = agent_rights(host)
        mine = {"configure": rights.configure, "write": rights.write, "read": rights.read}
        found = self._list("list_user_permissions", host)
        return found == [{"vhost": self._vhost, **mine}]

    def put(self, users: Mapping[str, User]) -> None:
        """Make these users, or give them these rights and passwords."""
        self._run("import_definitions", told=json.dumps(describe(users, self._vhost)))

    def remove(self, name: str) -> None:
        """Delete a user that is there, and end its connections."""
        self._run("delete_user", name)
        self.disconnect(name)

    def disconnect(self, name: str) -> None:
        """End a user's connections."""
        self._run("close_all_user_connections", name, "its credentials have changed")

    def _list(self, *arguments: str) -> list[dict[str, Any]]:
        said = self._run(*arguments, "--formatter", "json")
        try:
            found: list[dict[str, Any]] = json.loads(said)
        except ValueError:
            raise ServiceUnavailable(f"{self._command[0]} {arguments[0]} gave no JSON.") from None
        return found

    def _run(self, *arguments: str, told: str = "") -> str:
        """What it says.

        :raises ServiceUnavailable: it cannot run, takes too long or fails
        """
        try:
            done = subprocess.run(
                [*self._command, *arguments], input=told, capture_output=True, text=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ServiceUnavailable(
                f"{self._command[0]} did not end within {SECONDS:g} s; {ADVICE}."
            ) from None
        except OSError as error:
            raise ServiceUnavailable(
                f"Cannot run {self._command[0]}: {error.strerror}; {ADVICE}."
            ) from None
        if done.returncode:
            said = " ".join(done.stderr.split())[:300]
            raise ServiceUnavailable(f"{self._command[0]} {arguments[0]} failed: {said}")
        return done.stdout
