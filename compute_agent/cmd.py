"""paddock-compute: the agent of one host."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from paddock import runtime

runtime.choose()

from oslo_config import cfg  # noqa: E402

from compute_agent.disk_server import DiskServer  # noqa: E402
from compute_agent.drivers.base import Driver  # noqa: E402
from compute_agent.drivers.offload import offload  # noqa: E402
from compute_agent.endpoint import Ears, Endpoint  # noqa: E402
from compute_agent.epoch import EpochFile, Identity  # noqa: E402
from compute_agent.facts import Facts  # noqa: E402
from compute_agent.heartbeat import Heartbeats  # noqa: E402
from compute_agent.lease import Lease, now  # noqa: E402
from compute_agent.memory import LastActions  # noqa: E402
from compute_agent.observer import Observer  # noqa: E402
from compute_agent.performer import Performer  # noqa: E402
from compute_agent.queries import Queries  # noqa: E402
from compute_agent.reconcile import Reconciler  # noqa: E402
from compute_agent.runner import Runner  # noqa: E402
from compute_agent.slots import Slots  # noqa: E402
from compute_agent.watcher import Around  # noqa: E402
from paddock import rpc  # noqa: E402
from paddock.certificates import named  # noqa: E402
from paddock.clients import ConductorClient  # noqa: E402
from paddock.process import run  # noqa: E402
from paddock.service import Closing, Part, Service  # noqa: E402
from paddock.versions import Cap  # noqa: E402

DRIVERS = {
    "fake": "compute_agent.drivers.fake:FakeDriver",
    "libvirt": "compute_agent.drivers.libvirt.driver:LibvirtDriver",
}
RPC_WORKERS = 4


def choose_driver(conf: cfg.ConfigOpts) -> Driver:
    """The driver that the configuration names; only that one's library is imported."""
    module, name = DRIVERS[conf.compute.driver].split(":")
    driver: Driver = getattr(importlib.import_module(module), name)(conf)
    return driver


def build(
    conf: cfg.ConfigOpts,
    driver: Driver | None = None,
    transport: rpc.Transport | None = None,
    on_stale: Callable[[], object] = lambda: None,
) -> Service:
    """An agent, not yet started; a process may hold several, each with a state path of its own.

    :param driver: by default the one that the configuration names
    :param transport: by default one to the configuration's ``transport_url``
    :param on_stale: called when another process speaks for the host, so that this agent must end
    """
    transport = transport or rpc.transport(conf, "agent")
    client = rpc.Client(transport, conf.call_timeout)
    cap = Cap()
    caller = client.to(rpc.conductor_target("conductor-agent"), cap=cap)
    conductor = ConductorClient(caller, cap.learn)
    epochs = EpochFile(Path(conf.state_path) / "agent", Path(conf.compute.machine_id_file))
    parts = assemble(conf, conductor, driver or choose_driver(conf), transport, epochs, on_stale)
    return Service(f"agent of {conf.host}", [epochs, client, *parts])


def assemble(
    conf: cfg.ConfigOpts,
    conductor: ConductorClient,
    driver: Driver,
    transport: rpc.Transport,
    epochs: EpochFile,
    on_stale: Callable[[], object],
) -> list[Part]:
    """The agent's parts above its connection, from the inside out."""
    driver = offload(driver)
    compute = conf.compute
    identity = Identity(conf.host)
    slots: Slots[object] = Slots()
    lease = Lease(compute.lease)
    directory = Path(conf.state_path) / "agent"
    memory = LastActions(directory / "actions")
    around = Around(identity, conductor, driver, slots, lease, memory)
    observer = Observer(around, compute.observe_interval)
    performer = Performer(conf, identity, driver, slots, lease, memory)
    runner = Runner(conf, identity, conductor, performer, slots, lease)
    facts = Facts(
        identity, driver, observer.on_change, directory / "facts", compute.heartbeat_interval,
        named(conf),
    )  # fmt: skip
    reconciler = Reconciler(around, facts, compute.heartbeat_interval)
    queries = Queries(identity, conductor, driver)

    def tell_inventory(sent_at: float) -> None:
        observer.tell_all(sent_at)
        queries.tell_inventory(sent_at)

    orders: dict[str, Callable[[float], object]] = {
        "reconcile": reconciler.order,
        "inventory": tell_inventory,
    }
    heartbeats = Heartbeats(
        identity, epochs, compute.zone or "", conductor, facts, runner, lease,
        compute.on_host_boot == "restart", orders, on_stale, compute.heartbeat_interval,
    )  # fmt: skip
    facts.on_connect = reconciler.kick
    disks = DiskServer(conf, identity, conductor, driver)
    endpoint = Endpoint(identity, conductor, runner, heartbeats, queries)
    server = rpc.Server(transport, rpc.agent_target(conf.host), [endpoint], RPC_WORKERS)
    orders["listen"] = Ears(server, on_stale).listen

    def on_reconciled() -> None:
        heartbeats.kick()
        observer.tell_all(now())

    reconciler.on_done = on_reconciled
    return [
        Closing(driver.close),
        facts,
        queries,
        observer,
        reconciler,
        heartbeats,
        runner,
        disks,
        server,
    ]


def main() -> int:
    """Run the agent until SIGTERM."""
    return run("compute", lambda conf: build(conf, on_stale=Ending()))


class Ending:
    """Asks this process to end in order: once, since a second signal would end it at once."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> None:
        """Called by the heartbeats' thread only, perhaps in every round."""
        if not self._asked:
            self._asked = True
            os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
