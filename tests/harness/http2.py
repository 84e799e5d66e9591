"""HTTP/2 by hand, for peers that no gRPC library would be: frames are written as they are asked for, right or wrong."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
EMPTY_MESSAGE = bytes(5)
"""A gRPC message: not compressed, of no bytes."""
CANCEL = 8
ANSWER_TIMEOUT = 60.0

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header_block(pairs: Pairs, *, entered: bool = False) -> bytes:
    """Names and values as literals, which enter the table of the connection or do not."""
    kind = b"\x40" if entered else b"\x00"
    return b"".join(kind + _text(name) + _text(value) for name, value in pairs)


def _text(text: str) -> bytes:
    """Encodes a string without Huffman code, its length as an integer with a prefix of 7 bits."""
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, length = len(data) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    length.append(rest)
    return bytes(length) + data


class Connection:
    """What is written goes out at once, what comes is read frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next_stream = 1

    async def greet(self, window: int = 65_535) -> None:
        """Sends preface and settings: how much of an answer the server may send; the server's are acknowledged."""
        self._writer.write(PREFACE + frame(SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, window)))
        async for received in self.frames():
            if received.kind == SETTINGS and not received.flags & ACK:
                break
        self._writer.write(frame(SETTINGS, ACK))
        await self._writer.drain()

    async def write(self, data: bytes) -> None:
        """Writes, and gives everyone else a turn."""
        self._writer.write(data)
        await self._writer.drain()
        await asyncio.sleep(0)

    def begin(self, path: str, headers: Pairs = (), *, more: bytes = b"", flags: int = END_HEADERS) -> int:
        """Begins a call, and sends nothing of its message; returns its stream. `more` ends the header block."""
        stream = self._next_stream
        self._next_stream += 2
        usual = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test", "te": "trailers"}
        block = header_block([*usual.items(), ("content-type", "application/grpc"), *headers])
        self._writer.write(frame(HEADERS, flags, stream, block + more))
        return stream

    def call(self, path: str, headers: Pairs = ()) -> int:
        """Makes a call with an empty message; returns its stream."""
        stream = self.begin(path, headers)
        self._writer.write(frame(DATA, END_STREAM, stream, EMPTY_MESSAGE))
        return stream

    async def first(self, stream: int) -> Frame:
        """Returns the first frame of a call's answer; those of others are passed over."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            async for received in self.frames():
                if received.stream == stream and received.kind in {DATA, HEADERS, RST_STREAM}:
                    return received
        raise ConnectionError("the server closed the connection")

    async def frames(self) -> AsyncIterator[Frame]:
        """Yields those that come, until the server closes."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readexactly(9)
                length = int.from_bytes(head[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                yield Frame(kind, flags, stream & 0x7FFFFFFF, await self._reader.readexactly(length))

    async def closed(self, within: float = ANSWER_TIMEOUT) -> list[Frame]:
        """Returns what still came until the server closed. Raises TimeoutError where it does not."""
        async with asyncio.timeout(within):
            return [received async for received in self.frames()]


@asynccontextmanager
async def connected(port: int, address: str = "127.0.0.1") -> AsyncIterator[Connection]:
    """Yields a connection from a loopback address; it has said nothing yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
