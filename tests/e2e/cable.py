"""The network between a worker and its scheduler, to be cut: bytes vanish, and no end hears of it. It may be slow."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_CHUNK = 64 * 1024
_SLOW_CHUNK = 2 * 1024


class Cable:
    """Forwards connections to a port, in a thread of its own."""

    def __init__(self, port: int, rate: float | None) -> None:
        self.target = ""
        self._rate = rate
        self._port = port
        self._whole = True
        self._connections: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable")

    def cut(self) -> None:
        """From now on nothing gets through; what is connected stays so, and hears nothing."""
        self._call(self._set(whole=False))

    def mend(self) -> None:
        """New connections get through. Those that lost bytes break."""
        self._call(self._set(whole=True))

    def open(self) -> None:
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _set(self, *, whole: bool) -> None:
        self._whole = whole
        if whole:
            self._break()

    def _break(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        self._break()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, far_writer}
        self._connections |= ends
        try:
            await asyncio.gather(self._forward(reader, far_writer), self._forward(far_reader, writer))
        finally:
            self._connections -= ends

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_SLOW_CHUNK if self._rate else _CHUNK):
                if self._rate:
                    await asyncio.sleep(len(chunk) / self._rate)
                if self._whole:
                    writer.write(chunk)
                    await writer.drain()
        writer.close()


@contextmanager
def cable_to(port: int, rate: float | None = None) -> Iterator[Cable]:
    """A whole cable to a port of this machine; `target` is its near end. `rate`: bytes a second, each way; else all."""
    cable = Cable(port, rate)
    cable.open()
    try:
        yield cable
    finally:
        cable.close()
