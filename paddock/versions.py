"""Versions of what the processes say to each other.

A version is ``major.minor``. Within a major version names are only added, so a peer understands
whatever its own version has; two major versions never work together. Everybody tells its newest
version in what it sends anyway, and nobody sends a peer more than that one told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from paddock.errors import ServiceUnavailable

FIRST = "1.0"


def parse(version: str) -> tuple[int, int]:
    """Major and minor number, which compare as versions do.

    :raises ValueError: it is no version
    """
    major, minor = version.split(".")
    return int(major), int(minor)


def lowest(versions: Iterable[str]) -> str:
    """The lowest of some versions; the first one ever when there are none."""
    return min(versions, key=parse, default=FIRST)


def is_foreign(one: str, other: str) -> bool:
    """Whether two versions are of different major versions."""
    return parse(one)[0] != parse(other)[0]


class Cap:
    """The newest version that a peer is known to serve; until it is known, the first one ever."""

    def __init__(self, version: str = FIRST) -> None:
        self.version = version

    def learn(self, version: str) -> None:
        """The peer, or one that knows it, has told."""
        self.version = version


class Contract:
    """Which names each version added.

    :param added: version → names: ``method``, ``method.argument``, ``Record.field``. A name that
        is in no row is as old as the first version.
    :ivar version: the newest
    """

    def __init__(self, added: Mapping[str, Iterable[str]]) -> None:
        self.added = added
        self.version = max(added, key=parse)
        self._since = {name: version for version, names in added.items() for name in names}

    def since(self, name: str) -> str:
        """The version that first had a name."""
        return self._since.get(name, FIRST)

    def fit(self, method: str, args: Mapping[str, Any], peer: str) -> tuple[str, dict[str, Any]]:
        """How to send a method to a peer of some version.

        :return: the version that it needs, and its arguments without those that the peer does not
            know, if they say nothing (None)
        :raises ServiceUnavailable: the peer is too old
        """
        known = {
            name: value
            for name, value in args.items()
            if value is not None or parse(self.since(f"{method}.{name}")) <= parse(peer)
        }
        names = [method, *(f"{method}.{name}" for name in known)]
        needed = max((self.since(name) for name in names), key=parse)
        if parse(needed) > parse(peer):
            raise refusal(method, needed, peer)
        return needed, known


def refusal(method: str, asked: str, served: str) -> ServiceUnavailable:
    """What a caller is told whose call a peer does not understand; it holds the peer's version."""
    if is_foreign(asked, served):
        advice = "releases of different major RPC versions do not work together: install one"
    else:
        advice = "upgrade that process too; while an upgrade goes on, try again later"
    return ServiceUnavailable(
        f"{method} needs RPC version {asked} and the process that is asked has {served}: {advice}.",
        rpc_version=served,
    )
