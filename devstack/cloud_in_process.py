"""A whole cloud in one process: an API, a conductor and an agent per host on one in-memory bus.

The embedded profile and the functional tests are built with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oslo_config.cfg import ConfigOpts

import api.cmd
import compute_agent.cmd
import conductor.cmd
from devstack.place import Place
from paddock.config import load
from paddock.logs import bind
from paddock.service import Service

Options = Mapping[str, Mapping[str, Any]]
"""Section (``DEFAULT`` for none) → option → value."""


@dataclass(frozen=True)
class Layout:
    """What the cloud consists of.

    :ivar place: where its files lie
    :ivar hosts: host name → zone
    :ivar port: the API's TCP port; 0 lets the system choose one
    :ivar agents: options of every agent
    :ivar control: options of the API and the conductor
    """

    place: Place
    hosts: Mapping[str, str]
    port: int = 8774
    agents: Options = field(default_factory=dict)
    control: Options = field(default_factory=dict)
    bus: str = field(default_factory=lambda: uuid.uuid4().hex)


class CloudInProcess:
    """Builds the roles of a layout; :attr:`service` starts and stops them all."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        with bind(host="conductor"):
            self.conductor = conductor.cmd.build(self.conductor_options(), "conductor")
        self.agents = {host: self._agent(host) for host in layout.hosts}
        self.api = api.cmd.build(self.api_options())
        self.service = Service("cloud", [self.conductor, *self.agents.values(), self.api])

    def _agent(self, host: str) -> Service:
        with bind(host=host):
            return compute_agent.cmd.build(self.agent_options(host))

    def conductor_options(self) -> ConfigOpts:
        """The conductor's configuration; also for what prepares the database."""
        place = self.layout.place
        own = {
            "database": {"connection": f"sqlite:///{place.directory}/paddock.db"},
            "conductor": {"policy_file": str(place.policy)},
        }
        return self._load("conductor", own, self.layout.control)

    def api_options(self) -> ConfigOpts:
        """The API's configuration."""
        own: Options = {
            "api": {"port": self.layout.port},
            "identity": {"key_file": str(self.layout.place.token_key)},
        }
        return self._load("api", own, self.layout.control)

    def agent_options(self, host: str) -> ConfigOpts:
        """The configuration of one host's agent."""
        own: Options = {
            "compute": {
                "zone": self.layout.hosts[host],
                "image_store": str(self.layout.place.images),
            }
        }
        return self._load(host, own, self.layout.agents)

    def _load(self, name: str, own: Options, more: Options) -> ConfigOpts:
        common: Options = {
            "DEFAULT": {
                "host": name,
                "state_path": str(self.layout.place.state(name)),
                "transport_url": f"paddock://{self.layout.bus}/",
            }
        }
        return load(overrides=_merged(common, own, more))


def _merged(*layers: Options) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, options in layer.items():
            merged.setdefault(section, {}).update(options)
    return merged
