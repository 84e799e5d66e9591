"""A name server on loopback: every name leads to 127.0.0.1, except those that it never answers."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

SILENT = "silent"
"""How a name begins that is never answered."""
_HEADER = struct.Struct("!HHHHHH")
_ANSWERS, _TYPE_A, _CLASS_IN, _TTL_S = 0x8180, 1, 1, 60
_LOOPBACK = socket.inet_aton("127.0.0.1")
_POINTER_TO_NAME = 0xC00C


class NameServer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.asked: set[str] = set()
        """The names of all questions."""
        self.address = ""
        """For clients, with its port."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = "{}:{}".format(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        (number, *_) = _HEADER.unpack_from(data)
        labels, at = [], _HEADER.size
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question, name = data[_HEADER.size : at + 5], ".".join(labels)
        self.asked.add(name)
        if name.startswith(SILENT):
            return
        (kind,) = struct.unpack_from("!H", data, at + 1)
        answer = b""
        if kind == _TYPE_A:
            answer = struct.pack("!HHHIH", _POINTER_TO_NAME, _TYPE_A, _CLASS_IN, _TTL_S, 4) + _LOOPBACK
        self._transport.sendto(_HEADER.pack(number, _ANSWERS, 1, bool(answer), 0, 0) + question + answer, addr)


@asynccontextmanager
async def naming() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
