"""TCP ports of loopback that nobody uses."""

import socket

ADDRESS = "127.0.0.1"


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports of 127.0.0.1 that nobody uses."""
    while True:
        held = [socket.socket()]
        try:
            held[0].bind((ADDRESS, 0))
            first: int = held[0].getsockname()[1]
            for port in range(first + 1, first + count):
                held.append(socket.socket())
                held[-1].bind((ADDRESS, port))
        except (OSError, OverflowError):
            continue
        else:
            return first
        finally:
            for one in held:
                one.close()
