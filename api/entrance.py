"""The socket that clients connect to, which may outlive the process that serves it."""

from __future__ import annotations

import os
import socket

FIRST_PASSED = 3
WAITING = 1024
"""Connections that wait to be taken."""


def open_entrance(listen: str, port: int) -> socket.socket:
    """A socket that listens: systemd's when it passed one (sd_listen_fds(3)), else a new one.

    :param listen: an address or a host name, unless systemd passed the socket
    :raises OSError: the address is taken or not ours
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        passed = socket.socket(fileno=FIRST_PASSED)
        passed.set_inheritable(False)
        return passed
    family, _, _, _, address = socket.getaddrinfo(listen, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family, backlog=WAITING)
