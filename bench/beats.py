"""Heartbeats of simulated hosts, each sent as soon as the last one was answered."""

import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.cloud import cpu_seconds
from devstack.local import LocalCloud
from devstack.processes import wait_until
from paddock import config, rpc
from paddock.clients import ConductorClient
from paddock.records import Heartbeat, Hello, HostFacts, Resources

SECONDS = 10.0
PATIENCE_SECONDS = 30.0
FACTS = HostFacts(
    resources=Resources(vcpus=8, memory_mb=16384, disk_gb=100),
    capabilities=["pause", "suspend", "move"],
    version="1",
)


def beats_per_second(
    cloud: LocalCloud, names: Sequence[str], lasting: float = SECONDS
) -> tuple[float, float]:
    """Let these hosts, whom the broker knows, beat as fast as they are answered.

    :param names: hosts that have never been there
    :param lasting: seconds, once all of them beat
    :return: heartbeats a second, and the conductors' CPU seconds for each
    """
    counts = dict.fromkeys(names, 0)
    ended = threading.Event()
    with ThreadPoolExecutor(len(names)) as pool:
        hosts = [pool.submit(_beat, cloud, name, counts, ended) for name in names]
        try:
            wait_until(lambda: all(counts.values()), PATIENCE_SECONDS)
            begun, before, used = time.monotonic(), sum(counts.values()), _cpu(cloud)
            time.sleep(lasting)
            beats, used = sum(counts.values()) - before, _cpu(cloud) - used
            seconds = time.monotonic() - begun
        finally:
            ended.set()
        for host in hosts:
            host.result()
    return beats / seconds, used / beats


def _cpu(cloud: LocalCloud) -> float:
    return sum(cpu_seconds(cloud, f"conductor-{name}") for name in cloud.conductors)


def _beat(cloud: LocalCloud, name: str, counts: dict[str, int], ended: threading.Event) -> None:
    conf = config.load(
        overrides={"DEFAULT": {"host": name, "transport_url": cloud.broker.url(name)}}
    )
    client = rpc.Client(rpc.transport(conf, "agent"), 30.0)
    conductor = ConductorClient(client.to(rpc.conductor_target("conductor-agent")))
    epoch = str(uuid.uuid4())
    client.start()
    try:
        conductor.hello(
            Hello(host=name, epoch=epoch, replaces=None, machine_id=name, zone="z", facts=FACTS)
        )
        while not ended.is_set():
            conductor.heartbeat(Heartbeat(host=name, epoch=epoch, facts=FACTS, held=[]))
            counts[name] += 1
    finally:
        client.stop(5.0)
