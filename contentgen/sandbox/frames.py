"""What a service and its sandbox send each other: bytes, after their number."""

from __future__ import annotations

import struct
import time
from socket import socket

MAX_FRAME = 16 * 2**20
"""Bytes."""
_LENGTH = struct.Struct(">I")


def send(peer: socket, data: bytes, until: float | None = None) -> None:
    """Sends one frame. Raises TimeoutError at `until`, of `time.monotonic()`, and OSError if the peer has ended."""
    _wait_until(peer, until)
    peer.sendall(_LENGTH.pack(len(data)) + data)


def receive(peer: socket, until: float | None = None) -> bytes:
    """Returns the next frame. Raises as `send` does, EOFError if the peer has ended, ValueError if one is too large."""
    (length,) = _LENGTH.unpack(_read(peer, _LENGTH.size, until))
    if length > MAX_FRAME:
        raise ValueError(f"an answer must have at most {MAX_FRAME:,} bytes, has {length:,}")
    return _read(peer, length, until)


def _read(peer: socket, length: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < length:
        _wait_until(peer, deadline)
        part = peer.recv(length - len(data))
        if not part:
            raise EOFError("the peer has ended")
        data += part
    return bytes(data)


def _wait_until(peer: socket, deadline: float | None) -> None:
    if deadline is not None:
        peer.settimeout(max(deadline - time.monotonic(), 0.001))  # 0 would mean: do not wait, and fail otherwise
