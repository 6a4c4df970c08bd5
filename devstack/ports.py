"""TCP ports of loopback that nobody uses."""

import random
import socket

ADDRESS = "127.0.0.1"
FIRST, LAST = 15000, 32000
"""Below the ports that clients' own ends get (ip(7): ip_local_port_range), which are taken at any
moment."""


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports of 127.0.0.1 that nobody uses."""
    while True:
        first = random.SystemRandom().randrange(FIRST, LAST - count)
        if all(map(_is_free, range(first, first + count))):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind((ADDRESS, port))
        except OSError:
            return False
    return True
