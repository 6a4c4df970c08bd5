"""Heartbeats of simulated hosts, each sent as soon as the last one was answered."""

import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from devstack.local import LocalCloud
from paddock import config, rpc
from paddock.clients import ConductorClient
from paddock.records import Heartbeat, Hello, HostFacts, Resources

SECONDS = 10.0
FACTS = HostFacts(
    resources=Resources(vcpus=8, memory_mb=16384, disk_gb=100),
    capabilities=["pause", "suspend", "move"],
    version="1",
)


def beats_per_second(
    cloud: LocalCloud, names: Sequence[str], lasting: float = SECONDS
) -> tuple[float, float]:
    """Let these hosts, whom the broker knows, beat as fast as they are answered.

    :param lasting: for so many seconds
    :return: heartbeats a second, and the seconds that all of it took
    """
    counts = dict.fromkeys(names, 0)
    ended = threading.Event()
    with ThreadPoolExecutor(len(names)) as pool:
        begun = time.monotonic()
        hosts = [pool.submit(_beat, cloud, name, counts, ended) for name in names]
        time.sleep(lasting)
        ended.set()
        for host in hosts:
            host.result()
        seconds = time.monotonic() - begun
    return sum(counts.values()) / seconds, seconds


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
