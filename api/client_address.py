"""Which address a request comes from; only proxies that are trusted may say that it is another."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

LONGEST = 64
IPV6_PREFIX = 64
"""What one customer has at least: who has one address of it, has all."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ClientAddresses:
    """Finds clients behind proxies.

    :param trusted: addresses and networks of proxies that add to ``X-Forwarded-For``
    :raises ValueError: one of them is neither
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted = [ipaddress.ip_network(one) for one in trusted]

    def find(self, peer: str, forwarded: str | None) -> str:
        """The address of the client: an IPv4 address, or the network of an IPv6 one.

        :param peer: who sent the request
        :param forwarded: ``X-Forwarded-For``, in which each proxy added whom it heard
        """
        address = _read(peer)
        hops = (forwarded or "").split(",")
        while address and hops and any(address in network for network in self._trusted):
            if (hop := _read(hops.pop())) is None:
                break  # then the last proxy that is known is as much as can be known
            address = hop
        return _show(address) if address else peer[:LONGEST]


def _read(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _show(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((int(address), IPV6_PREFIX), strict=False))
