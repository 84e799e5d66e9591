"""Each trouble of a wire, as both ends see it."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.harness.wires import Trouble, Wire, Wires

LIMIT = 5.0
HELLO = b"hello"
NOT_A_BYTE = 0.2
"""Seconds in which a byte would have come on a whole wire of one machine."""


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        with contextlib.suppress(OSError):
            while data := self.request.recv(64):
                server.heard.set()
                self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.heard = threading.Event()


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def wires() -> Iterator[Wires]:
    with Wires() as wires:
        yield wires


@pytest.fixture
def wire(wires: Wires, server: _Server) -> Wire:
    return wires.to_port("a/b", server.server_address[1])


def connected(wire: Wire) -> socket.socket:
    """A connection over which something has gone already."""
    near = socket.create_connection(("127.0.0.1", wire.port), LIMIT)
    assert echoed(near) == HELLO
    return near


def echoed(near: socket.socket, within: float = LIMIT) -> bytes | None:
    """What comes back; None where nothing does."""
    near.settimeout(within)
    near.sendall(HELLO)
    try:
        return near.recv(64)
    except TimeoutError:
        return None


def has_ended(near: socket.socket) -> bool:
    """Whether the connection ends, rather than stay silent or say something."""
    near.settimeout(LIMIT)
    try:
        return near.recv(64) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_a_cut_wire_resets_what_is_connected_and_what_tries_to(wires: Wires, wire: Wire) -> None:
    with connected(wire) as near:
        wires.hurt("a/", Trouble.CUT)
        assert has_ended(near)
    with socket.create_connection(("127.0.0.1", wire.port), LIMIT) as near:
        assert has_ended(near)
    wires.mend()
    connected(wire).close()


def test_a_hole_takes_every_byte_and_tells_nobody(wires: Wires, wire: Wire, server: _Server) -> None:
    with connected(wire) as near:
        server.heard.clear()
        wires.hurt("a/", Trouble.HOLE)
        assert echoed(near, NOT_A_BYTE) is None
        assert not server.heard.is_set()
        wires.mend()
        assert has_ended(near)


def test_a_deaf_end_is_heard_and_hears_nothing(wires: Wires, wire: Wire, server: _Server) -> None:
    with connected(wire) as near:
        server.heard.clear()
        wires.hurt("a/", Trouble.DEAF)
        assert echoed(near, NOT_A_BYTE) is None
        assert server.heard.wait(LIMIT)


def test_a_slow_wire_is_late_in_both_directions(wires: Wires, wire: Wire) -> None:
    with connected(wire) as near:
        wires.hurt("a/", Trouble.SLOW, 0.1)
        begin = time.monotonic()
        assert echoed(near) == HELLO
        assert time.monotonic() - begin >= 0.2
        wires.mend()
        assert echoed(near) == HELLO


def test_other_wires_stay_whole(wires: Wires, wire: Wire, server: _Server) -> None:
    other = wires.to_port("c/d", server.server_address[1])
    wires.hurt("a/", Trouble.CUT)
    connected(other).close()
