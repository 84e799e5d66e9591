"""The network between processes: TCP proxies that can be cut, slowed and made deaf."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Self, TypeVar

import uvloop

T = TypeVar("T")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK = 64 * 1024
_SLOW_CHUNK = 2 * 1024
_CALL_TIMEOUT = 10.0


class Trouble(Enum):
    NONE = "none"
    CUT = "cut"
    """Connections are reset, and new ones are at once."""
    HOLE = "hole"
    """Half-open: connections stay, or are even accepted, and no byte arrives; nobody hears of it."""
    DEAF = "deaf"
    """The near end is heard, and hears nothing."""
    SLOW = "slow"
    """Each piece comes late."""


class Wire:
    """Forwards connections from a port of this machine to a server; all of it happens in the loop of its `Wires`."""

    def __init__(self, name: str, dial: Callable[[], Awaitable[Stream]], rate: float | None = None) -> None:
        """`rate`: bytes a second, each way; None: no limit."""
        self.name = name
        self.port = 0
        self._dial = dial
        self._rate = rate
        self._fault = Trouble.NONE
        self._delay = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def hurt(self, fault: Trouble, delay: float) -> None:
        """Gives the wire this fault from now on; `delay` is in seconds, for a slow one.

        Once it is whole again, connections that lost bytes are reset.
        """
        if fault is Trouble.CUT or (fault is Trouble.NONE and self._fault in {Trouble.HOLE, Trouble.DEAF}):
            self._reset()
        self._fault, self._delay = fault, delay

    async def close(self) -> None:
        self._server.close()
        self._reset()

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault is Trouble.CUT:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            far_reader, far_writer = await self._dial()
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        self._open.add(far_writer)
        try:
            await asyncio.gather(self._forward(reader, far_writer), self._forward(far_reader, writer, back=True))
        finally:
            self._open -= {writer, far_writer}

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool = False) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the latter is uvloop's for a connection that was reset
            while chunk := await reader.read(_SLOW_CHUNK if self._rate else _CHUNK):
                if self._rate:
                    await asyncio.sleep(len(chunk) / self._rate)
                if self._fault is Trouble.SLOW:
                    await asyncio.sleep(self._delay)
                if self._fault is not Trouble.HOLE and not (back and self._fault is Trouble.DEAF):
                    writer.write(chunk)
                    await writer.drain()
        writer.close()


class Wires:
    """All wires, in one thread; a context manager."""

    def __init__(self) -> None:
        self._wires: dict[str, Wire] = {}
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def to_port(self, name: str, port: int, rate: float | None = None) -> Wire:
        return self._lay(Wire(name, lambda: asyncio.open_connection("127.0.0.1", port), rate))

    def to_socket(self, name: str, path: Path) -> Wire:
        return self._lay(Wire(name, lambda: asyncio.open_unix_connection(path)))

    def hurt(self, prefix: str, fault: Trouble, delay: float = 0.0) -> None:
        """Puts a fault on each wire whose name begins with `prefix`."""
        for wire in [wire for name, wire in self._wires.items() if name.startswith(prefix)]:
            self._call(wire.hurt(fault, delay))

    def mend(self, prefix: str = "") -> None:
        """Makes each wire whole again whose name begins with `prefix`; connections that lost bytes are reset."""
        self.hurt(prefix, Trouble.NONE)

    def _lay(self, wire: Wire) -> Wire:
        self._call(wire.listen())
        self._wires[wire.name] = wire
        return wire

    async def _end(self) -> None:
        for wire in self._wires.values():
            await wire.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_TIMEOUT)


class Cable(Wires):
    """A single wire that can be cut: bytes vanish, and neither end notices."""

    target = ""

    def cut(self) -> None:
        """Lets no byte get through from now on; connections stay open."""
        self.hurt("", Trouble.HOLE)


@contextmanager
def cable_to(port: int, rate: float | None = None) -> Iterator[Cable]:
    """Yields a whole cable to a port of this machine."""
    with Cable() as cable:
        cable.target = cable.to_port("cable", port, rate).target
        yield cable
