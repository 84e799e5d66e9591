"""Ports for servers that keep theirs over restarts."""

from __future__ import annotations

import random
import socket

_PORTS = range(20_000, 32_000)  # below those that the kernel gives to clients, so that a restart finds its own again


def free_port(following: int = 0) -> int:
    """A port on loopback where nobody listens, nor on the `following` ones."""
    while True:
        port = random.choice(_PORTS)
        if all(map(_is_free, range(port, port + following + 1))):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
