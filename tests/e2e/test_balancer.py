"""The balancer of docker/compose.prod.yaml, as a process: what one source may take of it. It needs HAProxy itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.proxies import running_haproxy
from tests.harness.ports import free_port

CONFIG = Path(__file__).parents[2] / "docker/prod/haproxy.cfg"
CONNECTIONS, CONCURRENT = 200, 50
RATE, FEW = 500, 100
PATIENCE_S = 30.0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(100):
            writer.write(data)
    writer.close()


@pytest.fixture
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    """That of the balancer, in front of a server that returns what it gets; the parameter is another rate."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    behind, port = server.sockets[0].getsockname()[1], free_port()
    text = re.sub(r"server-template .*", f"server scheduler 127.0.0.1:{behind}", CONFIG.read_text())
    text = text.replace("bind :50051", f"bind 127.0.0.1:{port}")
    for other in ("bind :8405", "bind 127.0.0.1:8404"):
        text = text.replace(other, f"bind 127.0.0.1:{free_port()}")
    rate = f"sc0_conn_rate gt {RATE} "
    assert rate in text
    text = text.replace(rate, f"sc0_conn_rate gt {getattr(request, 'param', RATE)} ")
    config = tmp_path / "haproxy.cfg"
    config.write_text(text)
    with contextmanager(running_haproxy)(config, port):
        yield port
    server.close()


async def lets_in(port: int, source: str, peers: AsyncExitStack) -> bool:
    """Whether a connection of this source is passed on; it stays open until `peers` ends."""
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            peers.callback(writer.close)
            writer.write(b"x")
            return await reader.read(1) == b"x"
    return False


async def test_a_source_has_a_number_of_connections_and_leaves_others_theirs(port: int) -> None:
    async with AsyncExitStack() as peers:
        for _ in range(CONNECTIONS):
            assert await lets_in(port, "127.0.0.2", peers)
        assert not await lets_in(port, "127.0.0.2", peers)
        assert await lets_in(port, "127.0.0.3", peers)


@pytest.mark.parametrize("port", [FEW], indirect=True)
async def test_a_source_begins_a_number_of_connections_in_ten_seconds(port: int) -> None:
    async with asyncio.timeout(60):
        while all(await begun(port, CONCURRENT)):
            pass
    assert await begun(port, 1, "127.0.0.3") == [True]


async def begun(port: int, count: int, source: str = "127.0.0.2") -> list[bool]:
    """Of so many connections at once, which are passed on; they are closed again."""
    async with AsyncExitStack() as peers:
        return await asyncio.gather(*(lets_in(port, source, peers) for _ in range(count)))
