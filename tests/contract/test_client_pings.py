"""A client whose watch is quiet: it keeps asking whether its scheduler is there."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from contentgen import AsyncContentGenerationClient
from contentgen.client import connection
from tests.harness.http2 import ACK, PING, PREFACE, SETTINGS, Connection, frame

PINGS = 5
"""More than gRPC sends within a minute where no data goes out, unless it is told to."""
WITHIN_S = 40


async def test_a_quiet_watch_pings_its_scheduler_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    often = {**dict(connection._OPTIONS), "grpc.keepalive_time_ms": 500}
    monkeypatch.setattr(connection, "_OPTIONS", tuple(often.items()))
    pings: asyncio.Queue[bytes] = asyncio.Queue()

    async def say_nothing_but_that_it_is_there(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        writer.write(frame(SETTINGS))
        async for received in Connection(reader, writer).frames():
            if received.kind in {PING, SETTINGS} and not received.flags & ACK:
                writer.write(frame(received.kind, ACK, payload=received.payload if received.kind == PING else b""))
            if received.kind == PING and not received.flags & ACK:
                pings.put_nowait(received.payload)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(say_nothing_but_that_it_is_there, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncContentGenerationClient(f"127.0.0.1:{port}") as client, asyncio.timeout(WITHIN_S):
            asking = asyncio.ensure_future(anext(client.watch(account_id=1)))
            for _ in range(PINGS):
                await pings.get()
        await asyncio.gather(asking, return_exceptions=True)
