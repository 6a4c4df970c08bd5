"""A steady load: clients that ask for every action there is, at random."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from tests.faults.client import Client
from tests.faults.drains import DrainUser
from tests.faults.history import History, Request

COMPUTE = "/compute/v2.1"
FLAVOR = "42"
CLIENTS = 20
REPEATED = 0.1
"""The share of answered requests that are sent once more."""
FITTING = 0.85
"""How often a client asks for what the machine's state allows."""
LEFT_TO_BUILD = 0.95
"""How often a machine that is not there yet is only looked at: real ones take seconds."""
BY_STATE: dict[str, list[str]] = {
    "active": ["pause", "suspend", "os-stop", "reboot-soft", "reboot-hard", "vm-poweroff",
               "vm-poweroff", "lock"],
    "paused": ["unpause", "unpause", "suspend", "vm-poweroff", "reboot-hard"],
    "suspended": ["resume", "resume", "vm-poweroff"],
    "stopped": ["os-start", "os-start", "reboot-hard", "vm-poweroff", "migrate"],
    "powered_off": ["migrate", "vm-poweron", *2 * ["vm-poweron az1", "vm-poweron az2"], "os-start"],
    "error": ["reboot-hard", "delete"],
    "building": ["delete"],
}  # fmt: skip
ANY = [*sorted({verb for verbs in BY_STATE.values() for verb in verbs}), "unlock", "reset"]
DRAINING = 0.3
"""How often the one client that drains hosts does so."""
READS = ("list", "show", "console", "actions")


@dataclass(frozen=True)
class Rate:
    """How much is asked.

    :ivar instances: about how many there are
    :ivar think: seconds that a client waits between requests, on the average
    :ivar warm_up: seconds of each round before its faults
    """

    instances: int
    think: float
    warm_up: float


class Load:
    """Twenty clients, and what they know of their machines.

    :param clouds: clouds.yaml
    :param seed: of what they choose; their timing is not repeated
    """

    def __init__(self, clouds: Any, history: History, rate: Rate, seed: int) -> None:
        self._stopping = threading.Event()
        self._giving_up = threading.Event()
        self.user = Client(clouds, "paddock-demo", history, self._giving_up)
        self.admin = Client(clouds, "paddock-admin", history, self._giving_up)
        self._drains = DrainUser(self.admin)
        self.rate = rate
        self._seed = seed
        self._image = ""
        self._threads: list[threading.Thread] = []
        self._states: dict[str, str] = {}
        self._locked: set[str] = set()
        self.broken: list[str] = []

    def begin(self, number: int) -> None:
        """Start the clients for a round."""
        self._stopping.clear()
        self._giving_up.clear()
        self.user.round = self.admin.round = number
        if not self._image:
            images = self.user.read("/image/v2/images?name=paddock-guest")
            self._image = images["images"][0]["id"]
        self._refresh()
        self._drains.open_all()
        self._threads = [
            threading.Thread(target=self._run, args=(number, index), name=f"client {index}")
            for index in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask for nothing new."""
        self._stopping.set()

    def drain(self, timeout: float) -> bool:
        """Wait until each request has its answer; False when that takes longer."""
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))
        if all(not thread.is_alive() for thread in self._threads):
            return True
        self._giving_up.set()
        for thread in self._threads:
            thread.join()
        return False

    def _run(self, number: int, index: int) -> None:
        chance = random.Random(f"{self._seed}/{number}/{index}")
        while not self._stopping.wait(chance.uniform(0, 2 * self.rate.think)):
            try:
                self._ask(chance, index)
            except Exception as error:
                self.broken.append(f"client {index} broke: {type(error).__name__}: {error}")

    def _ask(self, chance: random.Random, index: int) -> None:
        if index == 0:  # one of them looks around
            self._refresh()
        if index == 1 and chance.random() < DRAINING:  # one of them drains hosts
            self._drain(chance)
            return
        states = dict(self._states)
        draw = chance.random()
        if draw < 0.15 or not states:
            self._read(chance, states)
        elif draw < 0.3:
            self._grow_or_shrink(chance, states)
            return
        if states:
            self._act(chance, states)
        elif not states:
            self._create(chance)

    def _drain(self, chance: random.Random) -> None:
        begun = self._drains.act(chance)
        if begun is not None and begun.status == 202:  # a refused one is decided anew
            self._perhaps_repeat(chance, self.admin, begun)

    def _grow_or_shrink(self, chance: random.Random, states: dict[str, str]) -> None:
        there, wanted = len(states), self.rate.instances
        if there < 1.3 * wanted and chance.random() < wanted / (there + wanted):
            self._create(chance)
            return
        self._do(chance, chance.choice(sorted(states)), chance.choice(["delete", "forceDelete"]))

    def _create(self, chance: random.Random) -> None:
        count = 2 if chance.random() < 0.15 else 1
        server = {
            "name": f"m-{chance.getrandbits(48):x}",
            "imageRef": self._image,
            "flavorRef": FLAVOR,
            "networks": "auto",
            "min_count": count,
            "max_count": count,
            "metadata": {"mark": "load"},
        }
        if chance.random() < 0.6:
            server["availability_zone"] = chance.choice(["az1", "az1", "az2"])
        request = self.user.change("POST", f"{COMPUTE}/servers", {"server": server}, "create")
        if request.status == 202:
            self._states[request.tries[-1].answer["server"]["id"]] = "building"
        self._perhaps_repeat(chance, self.user, request)

    def _act(self, chance: random.Random, states: dict[str, str]) -> None:
        key = chance.choice(sorted(states))
        if states[key] == "building" and chance.random() < LEFT_TO_BUILD:
            self._read(chance, {key: states[key]})
            return
        if key in self._locked and chance.random() < 0.7:
            verb = "unlock"
        elif chance.random() < FITTING:
            verb = chance.choice(BY_STATE.get(states[key], ANY))
        else:
            verb = chance.choice(ANY)
        self._do(chance, key, verb)

    def _do(self, chance: random.Random, key: str, verb: str) -> None:
        client = self.admin if verb in ("reset", "migrate") else self.user
        path = f"{COMPUTE}/servers/{key}"
        if verb == "delete":
            request = client.change("DELETE", path, None, verb)
        else:
            request = client.change("POST", f"{path}/action", body_of(verb), verb)
        if request.status in (202, 204):
            if verb == "lock":
                self._locked.add(key)
            elif verb == "unlock":
                self._locked.discard(key)
            elif verb in ("delete", "forceDelete"):
                self._states.pop(key, None)
        self._perhaps_repeat(chance, client, request)

    def _perhaps_repeat(self, chance: random.Random, client: Client, request: Request) -> None:
        if request.done and chance.random() < REPEATED:
            client.repeat(request)

    def _read(self, chance: random.Random, states: dict[str, str]) -> None:
        what = chance.choice(READS)
        if what == "list" or not states:
            self.user.read(f"{COMPUTE}/servers/detail")
            return
        path = f"{COMPUTE}/servers/{chance.choice(sorted(states))}"
        if what == "console":
            self.user.ask("POST", f"{path}/action", {"os-getConsoleOutput": {"length": 5}})
        else:
            self.user.read(f"{path}/os-instance-actions" if what == "actions" else path)

    def _refresh(self) -> None:
        listing = self.user.read(f"{COMPUTE}/servers/detail")
        if listing is None:
            return
        servers = listing["servers"]
        self._states = {server["id"]: server["OS-EXT-STS:vm_state"] for server in servers}
        self._locked = {server["id"] for server in servers if server.get("locked")}


def body_of(verb: str) -> dict[str, Any]:
    """The request's body."""
    name, _, zone = verb.partition(" ")
    if name.startswith("reboot-"):
        return {"reboot": {"type": name.removeprefix("reboot-").upper()}}
    if name == "reset":
        return {"os-resetState": {"state": "active"}}
    if name == "vm-poweron":
        return {name: {"availability_zone": zone} if zone else {}}
    if name == "vm-poweroff":
        return {name: {}}
    return {name: None}
