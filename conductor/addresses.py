"""Ports: their MACs and addresses, allotted by insert; the unique constraints decide races."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from conductor.db.models import Network, Port
from conductor.turn import Turn
from paddock.errors import BadRequest, Conflict
from paddock.records import PortSpec

RANDOM_TRIES = 30
SMALL = 4096
GUESSES = 2
"""Of a small network, before all its addresses are read, of which most are mostly free."""


@dataclass(frozen=True)
class WantedPort:
    """One interface that a request asks for; ``address`` or ``port_id`` when it names one."""

    network: Network
    address: str | None = None
    port_id: str | None = None


def wanted_ports(
    turn: Turn, project_id: str | None, networks: str | Sequence[dict[str, Any]], machines: int
) -> list[WantedPort]:
    """Read a request's ``networks``: ``auto``, ``none`` or a list of uuid, port, fixed_ip.

    :param machines: how many machines the request may make; one address fits only one
    :raises BadRequest: a network, port or address is unknown, taken or not the project's
    """
    if networks == "none":
        return []
    if isinstance(networks, str):
        visible = _visible(turn, project_id)
        return [WantedPort(visible[0])] if visible else []
    if machines > 1 and any("port" in item or "fixed_ip" in item for item in networks):
        raise BadRequest("networks: a port or fixed_ip fits one server; max_count must be 1.")
    return [_wanted(turn, project_id, item) for item in networks]


def _visible(turn: Turn, project_id: str | None) -> list[Network]:
    query = sa.select(Network).where(_is_visible(project_id))
    return turn.all(query.order_by(Network.project_id.is_(None), Network.name, Network.id))


def _is_visible(project_id: str | None) -> sa.ColumnElement[bool]:
    return sa.or_(Network.project_id.is_(None), Network.project_id == project_id)


def _wanted(turn: Turn, project_id: str | None, item: dict[str, Any]) -> WantedPort:
    if item.get("port"):
        return _existing(turn, project_id, str(item["port"]))
    key = str(item.get("uuid"))
    network = turn.first(sa.select(Network).where(Network.id == key, _is_visible(project_id)))
    if network is None:
        raise BadRequest(f"networks: Network {key} could not be found.")
    address = item.get("fixed_ip")
    if address is not None:
        _check_address(network, str(address))
    return WantedPort(network, address=address)


def _existing(turn: Turn, project_id: str | None, key: str) -> WantedPort:
    port = turn.get(Port, key)
    query = sa.select(Network).where(_is_visible(project_id))
    network = turn.first(query.where(Network.id == port.network_id)) if port else None
    if port is None or network is None or port.instance_id or port.quarantine_host:
        raise BadRequest(f"networks: Port {key} could not be found or is in use.")
    return WantedPort(network, port_id=key)


def _check_address(network: Network, address: str) -> None:
    first, last = ipaddress.ip_address(network.first), ipaddress.ip_address(network.last)
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        raise BadRequest("networks: fixed_ip must be an IPv4 or IPv6 address.") from None
    if wanted.version != first.version or not int(first) <= int(wanted) <= int(last):
        raise BadRequest(
            f"networks: fixed_ip {address} is not one for guests, which are {first} to {last}."
        )


class Supply:
    """The free addresses of networks as one request finds them.

    They are random: neighbours still remember the last owner of one that just came free.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._free: dict[str, list[int]] = {}
        self._guessed: dict[str, set[int]] = {}

    def allot(self, instance_id: str, wanted: Sequence[WantedPort]) -> None:
        """Give an instance its ports.

        :raises Conflict: a network has no free address, or the one asked for is taken
        """
        for position, want in enumerate(wanted):
            if want.port_id is not None:
                _attach(self._turn, instance_id, position, want.port_id)
            else:
                self._insert(instance_id, position, want)

    def _insert(self, instance_id: str, position: int, want: WantedPort) -> None:
        for address in self._proposals(want):
            port = Port(
                id=self._turn.new_id(),
                network_id=want.network.id,
                instance_id=instance_id,
                position=position,
                mac=new_mac(self._turn),
                address=address,
            )
            try:
                with self._turn.session.begin_nested():
                    self._turn.add(port)
            except IntegrityError:
                continue
            return
        taken = f"address {want.address}" if want.address else f"network {want.network.name}"
        raise Conflict(f"networks: no free address: {taken} is in use.")

    def _proposals(self, want: WantedPort) -> Iterable[str]:
        """Addresses to try in turn: some at random, then all free ones of a network that is small
        enough to read which those are."""
        if want.address:
            return [want.address, want.address]  # twice: the MAC drawn first may be taken
        first = int(ipaddress.ip_address(want.network.first))
        last = int(ipaddress.ip_address(want.network.last))
        is_small = last - first <= SMALL
        guesses = self._guess(want.network.id, first, last, GUESSES if is_small else RANDOM_TRIES)
        return itertools.chain(
            guesses, self._read(want.network.id, first, last) if is_small else ()
        )

    def _guess(self, network_id: str, first: int, last: int, tries: int) -> Iterator[str]:
        guessed = self._guessed.setdefault(network_id, set())
        for _ in range(0 if network_id in self._free else tries):
            number = self._turn.random.randint(first, last)
            if number not in guessed:
                guessed.add(number)
                yield _address(number)

    def _read(self, network_id: str, first: int, last: int) -> Iterator[str]:
        if network_id not in self._free:
            self._free[network_id] = _free(self._turn, network_id, first, last)
        free = self._free[network_id]
        while free:
            place = self._turn.random.randrange(len(free))
            free[place], free[-1] = free[-1], free[place]
            yield _address(free.pop())


def _attach(turn: Turn, instance_id: str, position: int, port_id: str) -> None:
    free = (Port.instance_id.is_(None), Port.quarantine_host.is_(None))
    turn.must(Port, Port.id == port_id, *free, instance_id=instance_id, position=position)


def _free(turn: Turn, network_id: str, first: int, last: int) -> list[int]:
    """A network's free addresses as numbers."""
    taken = turn.session.scalars(sa.select(Port.address).where(Port.network_id == network_id))
    used = {int(ipaddress.ip_address(address)) for address in taken}
    return [number for number in range(first, last + 1) if number not in used]


def _address(number: int) -> str:
    return str(ipaddress.ip_address(number))


def new_mac(turn: Turn) -> str:
    """A random MAC with OpenStack's prefix."""
    return re.sub("(..)(?!$)", r"\1:", f"fa163e{turn.random.getrandbits(24):06x}")


def specs(turn: Turn, instance_id: str) -> list[PortSpec]:
    """An instance's ports, in their order."""
    query = (
        sa.select(Port, Network)
        .join(Network, Network.id == Port.network_id)
        .where(Port.instance_id == instance_id)
        .order_by(Port.position)
    )
    return [_spec(port, network) for port, network in turn.session.execute(query).tuples()]


def _spec(port: Port, network: Network) -> PortSpec:
    return PortSpec(
        id=port.id,
        network_id=network.id,
        network_name=network.name,
        mac=port.mac,
        address=port.address,
        cidr=network.cidr,
        gateway=network.gateway,
    )


def release(turn: Turn, instance_id: str) -> None:
    """Free a deleted instance's addresses at once."""
    turn.drop(Port, Port.instance_id == instance_id)


def quarantine(turn: Turn, instance_id: str, host: str) -> None:
    """Keep a deleted instance's addresses until that host, where it may still run, reconciled."""
    turn.change(Port, Port.instance_id == instance_id, instance_id=None, quarantine_host=host)


def end_quarantine(turn: Turn, host: str) -> None:
    """Free the addresses that waited for a host."""
    turn.drop(Port, Port.quarantine_host == host)
